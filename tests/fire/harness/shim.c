/* What a node's disk and wall clock do, by word of the harness: preloaded into the node's process, which is otherwise the one that ships.
 *
 * The words stand in a file that harness and node both map (shim.rs). A slow disk takes its time before each write, so what a kill finds waiting
 * is not written. A failing one answers a sync with an error, a full one a write with ENOSPC. The wall clock is so far off; the monotonic one is the
 * kernel's, which never jumps.
 *
 * What is written to the store is held in the process until it is synced: so each kill is a power cut to that node, and what a failed sync was to
 * write is gone, as the kernel does. But what LMDB writes over a meta page for which there was no room is there at once, as it may be. Of a record of the journal some sectors are written all the same, as a disk may. LMDB reads no page between
 * writing and syncing it, but for the first two of a file that it makes; nor does the journal. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct words {
    volatile uint32_t delay_us, syncs_fail; /* with which error */
    volatile uint32_t full; /* 1: for all; 2: for what is synced by itself, as meta pages */
    volatile uint32_t journal_alone; /* 1: the syncs of the journal fail, and no other */
    volatile int64_t wall_ms;
    volatile uint64_t hits; /* how often any of this was done to the node */
    volatile uint64_t held, written; /* writes that were held back, and those of them that were synced */
};

static struct words none, *words = &none;

static void __attribute__((constructor)) begin(void) {
    /* No node outlives the harness, however that ends. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const char *path = getenv("PAXOS_FIRE_SHIM");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *map = mmap(0, sizeof(struct words), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        if (map != MAP_FAILED) words = map;
    }
}

#define REAL(result, name, ...)                                                   \
    static result (*real)(__VA_ARGS__);                                           \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

static void hit(void) { __atomic_fetch_add(&words->hits, 1, __ATOMIC_RELAXED); }

/* Whether a file's path ends so. */
static int ends_with(int file, const char *end) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = readlink(name, path, sizeof path), wanted = strlen(end);
    return length >= wanted && !memcmp(path + length - wanted, end, wanted);
}

/* Only what lies on the disk: not logs, pipes and sockets; nor traces, for which there is another one. */
static int on_disk(int file) {
    struct stat about;
    return !fstat(file, &about) && S_ISREG(about.st_mode) && file > 2 && !ends_with(file, ".ndjson");
}

static int refused(int file) {
    int before = errno;
    int disk = on_disk(file);
    errno = before;
    if (!disk) return 0;
    if (words->delay_us) {
        hit();
        usleep(words->delay_us);
    }
    if (words->full == 1 || (words->full == 2 && fcntl(file, F_GETFL) & O_DSYNC)) {
        hit();
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

/* What is written and not synced. */
struct late {
    struct late *next;
    int file;
    off64_t at;
    size_t count;
    char bytes[];
};

static struct late *first, **last = &first;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int is_journal(int file) {
    int before = errno;
    int journal = ends_with(file, "/journal");
    errno = before;
    return journal;
}

/* Where LMDB could not write a meta page it writes it again, not synced, with the number that it had. */
static int is_written_back(off64_t at) { return words->full == 2 && at < 8192; }

/* The store, but where it is opened for writes that are synced by themselves, as those of its meta pages. */
static int is_held(int file) {
    int before = errno;
    int flags = fcntl(file, F_GETFL);
    int held = flags >= 0 && !(flags & O_DSYNC) && (ends_with(file, "/data.mdb") || is_journal(file));
    errno = before;
    return held;
}

static ssize_t hold(int file, const struct iovec *from, int pieces, off64_t at) {
    size_t count = 0;
    for (int piece = 0; piece < pieces; piece++) count += from[piece].iov_len;
    struct late *late = malloc(sizeof *late + count);
    if (!late) abort();
    *late = (struct late){.file = file, .at = at, .count = count};
    char *to = late->bytes;
    for (int piece = 0; piece < pieces; piece++) to = mempcpy(to, from[piece].iov_base, from[piece].iov_len);
    __atomic_fetch_add(&words->held, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&lock);
    *last = late;
    last = &late->next;
    pthread_mutex_unlock(&lock);
    return count;
}

/* Writes some of the sectors at once; which ones, nobody can tell. */
static void tear(int file, const char *from, size_t count, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    static uint64_t drawn;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t draw = __atomic_add_fetch(&drawn, 0x9e3779b97f4a7c15, __ATOMIC_RELAXED) + now.tv_nsec;
    for (size_t sector = 0; sector + 512 <= count; sector += 512) {
        draw = (draw ^ draw >> 30) * 0xbf58476d1ce4e5b9;
        draw = (draw ^ draw >> 27) * 0x94d049bb133111eb;
        draw ^= draw >> 31;
        if (draw >> 32 & 1 && real(file, from + sector, 512, at + sector) != 512) return;
    }
}

/* Writes what is held of a file, or drops it. */
static int let_go(int file, int dropped) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    int result = 0;
    pthread_mutex_lock(&lock);
    for (struct late **at = &first; *at;) {
        struct late *late = *at;
        if (late->file != file) {
            at = &late->next;
            continue;
        }
        if (!dropped) {
            if (real(file, late->bytes, late->count, late->at) != (ssize_t)late->count) result = -1;
            __atomic_fetch_add(&words->written, 1, __ATOMIC_RELAXED);
        }
        *at = late->next;
        if (last == &late->next) last = at;
        free(late);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int sync_failed(int file) {
    if (words->delay_us) {
        hit();
        usleep(words->delay_us);
    }
    if (words->syncs_fail && (!words->journal_alone || is_journal(file))) {
        hit();
        errno = words->syncs_fail;
        return 1;
    }
    return 0;
}

ssize_t write(int file, const void *from, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return (words->full || words->delay_us) && refused(file) ? -1 : real(file, from, count);
}

ssize_t pwrite(int file, const void *from, size_t count, off_t at) {
    return pwrite64(file, from, count, at);
}

ssize_t pwrite64(int file, const void *from, size_t count, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    if ((words->full || words->delay_us) && refused(file)) return -1;
    struct iovec whole = {(void *)from, count};
    int journal = is_journal(file);
    if (journal) tear(file, from, count, at);
    return journal || (at && !is_written_back(at) && is_held(file)) ? hold(file, &whole, 1, at) : real(file, from, count, at);
}

ssize_t pwritev(int file, const struct iovec *from, int count, off_t at) {
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    if ((words->full || words->delay_us) && refused(file)) return -1;
    return is_held(file) ? hold(file, from, count, at) : real(file, from, count, at);
}

ssize_t writev(int file, const struct iovec *from, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if ((words->full || words->delay_us) && refused(file)) return -1;
    off64_t at = is_held(file) ? lseek64(file, 0, SEEK_CUR) : -1;
    if (at < 0) return real(file, from, count);
    ssize_t written = hold(file, from, count, at);
    return lseek64(file, written, SEEK_CUR) < 0 ? -1 : written;
}

int fsync(int file) {
    REAL(int, "fsync", int);
    int failed = sync_failed(file);
    return let_go(file, failed) || failed ? -1 : real(file);
}

int fdatasync(int file) {
    REAL(int, "fdatasync", int);
    int failed = sync_failed(file);
    return let_go(file, failed) || failed ? -1 : real(file);
}

int msync(void *at, size_t length, int flags) {
    REAL(int, "msync", void *, size_t, int);
    return sync_failed(-1) ? -1 : real(at, length, flags);
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, to);
    int64_t off = words->wall_ms;
    if (!result && off && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = to->tv_nsec + off % 1000 * 1000000;
        to->tv_sec += off / 1000 + (ns < 0 ? -1 : ns >= 1000000000);
        to->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
        hit();
    }
    return result;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
