/* What a node's disk and wall clock do, by word of the harness: preloaded into the node's process, which is otherwise the one that ships.
 *
 * The words stand in a file that harness and node both map (shim.rs). A slow disk takes its time before each write, so what a kill finds waiting
 * is not written. A failing one answers a sync with EIO, a full one a write with ENOSPC. The wall clock is so far off; the monotonic one is the
 * kernel's, which never jumps. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct words {
    volatile uint32_t delay_us, syncs_fail, full, pad;
    volatile int64_t wall_ms;
    volatile uint64_t hits; /* how often any of this was done to the node */
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

/* Only what lies on the disk: not logs, pipes and sockets. */
static int on_disk(int file) {
    struct stat about;
    return !fstat(file, &about) && S_ISREG(about.st_mode) && file > 2;
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
    if (words->full) {
        hit();
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

static int sync_failed(void) {
    if (words->delay_us) {
        hit();
        usleep(words->delay_us);
    }
    if (words->syncs_fail) {
        hit();
        errno = EIO;
        return 1;
    }
    return 0;
}

ssize_t write(int file, const void *from, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return (words->full || words->delay_us) && refused(file) ? -1 : real(file, from, count);
}

ssize_t pwrite(int file, const void *from, size_t count, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return (words->full || words->delay_us) && refused(file) ? -1 : real(file, from, count, at);
}

ssize_t pwrite64(int file, const void *from, size_t count, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return (words->full || words->delay_us) && refused(file) ? -1 : real(file, from, count, at);
}

ssize_t pwritev(int file, const struct iovec *from, int count, off_t at) {
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    return (words->full || words->delay_us) && refused(file) ? -1 : real(file, from, count, at);
}

ssize_t writev(int file, const struct iovec *from, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return (words->full || words->delay_us) && refused(file) ? -1 : real(file, from, count);
}

int fsync(int file) {
    REAL(int, "fsync", int);
    return sync_failed() ? -1 : real(file);
}

int fdatasync(int file) {
    REAL(int, "fdatasync", int);
    return sync_failed() ? -1 : real(file);
}

int msync(void *at, size_t length, int flags) {
    REAL(int, "msync", void *, size_t, int);
    return sync_failed() ? -1 : real(at, length, flags);
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
