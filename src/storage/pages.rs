//! Looks at every page of LMDB's file before LMDB does.
//!
//! LMDB trusts its file: it follows page numbers wherever they lead, and a file that is too short ends the process with SIGBUS. Of
//! its two meta pages it takes the one with the higher transaction, so a flipped bit there can bring back an earlier value, in
//! which votes are missing. So the file is read first, by ordinary reads that only can fail:
//!
//! - each tree is walked from the newest meta page: page numbers, flags, offsets, sizes, depth, order of keys and all counts;
//! - no page belongs to two trees, or to one and is free, so that nothing that is used can be written over (one that is neither is
//!   only lost room);
//! - each commit leaves its transaction's number in a record with a checksum, and both meta pages must agree with theirs. The
//!   pages of the last transaction but one are never written over, so that this can be asked for after any crash. There is one exception:
//!   LMDB itself leaves a wrong number where it cannot write a meta page ([`unnumbered`]).
//!
//! What stands in the records is compared with their checksums when it is loaded.

#![allow(clippy::disallowed_types, reason = "this is where files are")]

use super::STORE_MIB_MAX;
use super::lmdb::BESIDE;
use super::trees::META;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
const PAGE_HEADER: usize = 16;
const NODE_HEADER: usize = 8;
const META_BYTES: usize = 152;
const TREE_BYTES: usize = 48;
/// Where in a meta page the number of its last page stands; that of its transaction follows.
const LAST_PAGE: usize = 120;
/// What is mapped for the largest store that can be configured.
const MAP_MAX: u64 = ((BESIDE * STORE_MIB_MAX) << 20) as u64;
const NO_PAGE: u64 = u64::MAX;
const IS_BRANCH: u16 = 1;
const IS_LEAF: u16 = 2;
const IS_OVERFLOW: u16 = 4;
const IS_META: u16 = 8;
const ON_OVERFLOW: u16 = 1;
const IS_TREE: u16 = 2;
/// Of a tree whose keys are integers: that of the free pages is the only one.
const INTEGER_KEYS: u16 = 8;
/// No tree of 64-bit page numbers is deeper.
const DEPTH_MAX: u16 = 32;

type Checked<T> = Result<T, String>;

/// What is read of the file while it is looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The transaction that left it.
    pub(super) transaction: u64,
    /// The names of its trees, in order.
    pub(super) trees: Vec<String>,
    /// The records of the `meta` tree.
    pub(super) meta: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The newest snapshot, all of its pages being sound, and the one before it.
pub(super) fn look_through(file: &File) -> Checked<[Snapshot; 2]> {
    let [newest, older] = metas(file)?;
    let mut walk = Walk::new(file, &newest)?;
    let whole = walk.snapshot(&newest, true)?;
    walk.check_disjoint(&newest)?;
    let before = Walk::new(file, &older)?.snapshot(&older, false)?;
    Ok([whole, before])
}

/// A commit of which all is there but its number.
#[derive(Debug)]
pub(super) struct Unnumbered {
    /// What it is where it has its number, all of its pages being sound, and the one before it.
    pub(super) snapshots: [Snapshot; 2],
    /// Where its number is to be written, with that of its last page.
    pub(super) at: u64,
    pub(super) bytes: [u8; 16],
}

/// The commit after the newest, if it has taken the place of the older one in all but its number. LMDB leaves that where the write of
/// a meta page fails, after all other pages were written and synced: for fear that it was done all the same it writes the page again, with the number and the
/// last page that stood there before, and with the new trees. Whoever calls this is to see that the trees are those of that commit. Then it is
/// the same as if the number of a commit that succeeded had been damaged, and so it is the later one that is to be taken, and not the one that
/// the other page tells. It cannot be left as it is either, since the next commit is written over it.
pub(super) fn unnumbered(file: &File) -> Checked<Unnumbered> {
    let [newest, older] = metas(file)?;
    if older.last_page > newest.last_page {
        return Err("its older commit has more pages than the one after it".into());
    }
    // What is its last page is not told, but there is none after the end of the map.
    let mut meant =
        Meta { transaction: newest.transaction + 1, last_page: older.map_bytes / older.page_size as u64 - 1, ..older };
    let mut walk = Walk::new(file, &meant)?;
    let whole = walk.snapshot(&meant, true)?;
    walk.check_disjoint(&meant)?;
    let end = walk.taken.last().map_or(0, |(first, count)| first + count);
    meant.last_page = newest.last_page.max(end.saturating_sub(1));
    let before = Walk::new(file, &newest)?.snapshot(&newest, false)?;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&meant.last_page.to_ne_bytes());
    bytes[8..].copy_from_slice(&meant.transaction.to_ne_bytes());
    let page = meant.transaction % 2 * meant.page_size as u64;
    Ok(Unnumbered { snapshots: [whole, before], at: page + (PAGE_HEADER + LAST_PAGE) as u64, bytes })
}

/// The two meta pages, the newest first.
fn metas(file: &File) -> Checked<[Meta; 2]> {
    let (first, second) = (Meta::read(file, 0, None)?, Meta::read(file, 1, Some(Meta::page_size(file)?))?);
    if second.page_size != first.page_size {
        return Err("its two meta pages tell different page sizes".into());
    }
    for (meta, odd) in [(&first, 0), (&second, 1)] {
        if meta.transaction % 2 != odd {
            return Err(format!("meta page {odd} tells transaction {}", meta.transaction));
        }
    }
    let (older, newest) = if first.transaction < second.transaction { (first, second) } else { (second, first) };
    if newest.transaction - older.transaction != 1 {
        return Err(format!(
            "its meta pages tell transactions {} and {}, and are not those of two commits in a row",
            older.transaction, newest.transaction
        ));
    }
    Ok([newest, older])
}

/// Where the root of a tree is, and what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tree {
    pad: u32,
    flags: u16,
    depth: u16,
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
    root: u64,
}

impl Tree {
    fn read(bytes: &[u8]) -> Checked<Tree> {
        if bytes.len() != TREE_BYTES {
            return Err(format!("a tree is told in {} bytes", bytes.len()));
        }
        Ok(Tree {
            pad: u32_at(bytes, 0),
            flags: u16_at(bytes, 4),
            depth: u16_at(bytes, 6),
            branches: u64_at(bytes, 8),
            leaves: u64_at(bytes, 16),
            overflows: u64_at(bytes, 24),
            entries: u64_at(bytes, 32),
            root: u64_at(bytes, 40),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    page_size: usize,
    free: Tree,
    main: Tree,
    map_bytes: u64,
    last_page: u64,
    transaction: u64,
}

impl Meta {
    fn page_size(file: &File) -> Checked<usize> {
        let mut bytes = [0; PAGE_HEADER + META_BYTES];
        read(file, &mut bytes, 0, 0)?;
        let size = u32_at(&bytes, PAGE_HEADER + 24) as usize;
        if !size.is_power_of_two() || !(512..=1 << 15).contains(&size) {
            return Err(format!("its first page tells pages of {size} bytes"));
        }
        Ok(size)
    }

    fn read(file: &File, page: u64, page_size: Option<usize>) -> Checked<Meta> {
        let page_size = match page_size {
            Some(size) => size,
            None => Meta::page_size(file)?,
        };
        let mut bytes = [0; PAGE_HEADER + META_BYTES];
        read(file, &mut bytes, page, page * page_size as u64)?;
        let (header, meta) = bytes.split_at(PAGE_HEADER);
        if u64_at(header, 0) != page || u16_at(header, 10) != IS_META {
            return Err(format!("page {page} is no meta page"));
        }
        let (magic, version) = (u32_at(meta, 0), u32_at(meta, 4));
        if magic != MAGIC || version != VERSION {
            return Err(format!("meta page {page} is not LMDB's: magic {magic:08x}, version {version}"));
        }
        if u64_at(meta, 8) != 0 {
            return Err(format!("meta page {page} tells a fixed address"));
        }
        let (free, main) = (Tree::read(&meta[24..72])?, Tree::read(&meta[72..120])?);
        let told = free.pad as usize;
        if told != page_size || main.pad != 0 || free.flags != INTEGER_KEYS || main.flags != 0 {
            return Err(format!("meta page {page} tells pages of {told} bytes, or flags that are not used here"));
        }
        let (map_bytes, last_page, transaction) =
            (u64_at(meta, 16), u64_at(meta, LAST_PAGE), u64_at(meta, LAST_PAGE + 8));
        if map_bytes > MAP_MAX || last_page < 1 || last_page >= map_bytes / page_size as u64 {
            return Err(format!("meta page {page} tells {last_page} as the last page of {map_bytes} bytes"));
        }
        Ok(Meta { page_size, free, main, map_bytes, last_page, transaction })
    }
}

/// What a leaf holds under a key.
enum Value<'a> {
    Here(&'a [u8]),
    Tree(Tree),
    Elsewhere { page: u64, length: usize },
}

type Visit<'v> = &'v mut dyn FnMut(&[u8], Value<'_>) -> Checked<()>;

struct Walk<'f> {
    file: &'f File,
    page_size: usize,
    pages_in_file: u64,
    last_page: u64,
    /// Runs of pages that are in use or free: the first, and how many.
    taken: Vec<(u64, u64)>,
}

impl<'f> Walk<'f> {
    fn new(file: &'f File, meta: &Meta) -> Checked<Walk<'f>> {
        let length = file.metadata().map_err(|error| format!("its length cannot be read: {error}"))?.len();
        let (page_size, last_page) = (meta.page_size, meta.last_page);
        Ok(Walk { file, page_size, pages_in_file: length / page_size as u64, last_page, taken: Vec::new() })
    }

    /// Walks the trees: all of each or, unless `whole`, of the others than `meta` nothing.
    fn snapshot(&mut self, from: &Meta, whole: bool) -> Checked<Snapshot> {
        let mut trees = BTreeMap::new();
        self.tree("main", &from.main, Ord::cmp, &mut |key, value| match value {
            Value::Tree(tree) => {
                trees.insert(String::from_utf8_lossy(key).into_owned(), tree);
                Ok(())
            }
            Value::Here(_) | Value::Elsewhere { .. } => Err("a record stands among the trees".into()),
        })?;
        let mut meta = BTreeMap::new();
        for (name, tree) in &trees {
            if tree.pad != 0 || tree.flags != 0 {
                return Err(format!("tree {name} has flags that are not used here"));
            }
            if name == META {
                self.tree(name, tree, Ord::cmp, &mut |key, value| match value {
                    Value::Here(value) => {
                        meta.insert(key.to_vec(), value.to_vec());
                        Ok(())
                    }
                    Value::Tree(_) | Value::Elsewhere { .. } => Err("a record of meta is too large".into()),
                })?;
            } else if whole {
                self.tree(name, tree, Ord::cmp, &mut |_, value| match value {
                    Value::Here(_) | Value::Elsewhere { .. } => Ok(()),
                    Value::Tree(_) => Err("a tree stands among the records".into()),
                })?;
            }
        }
        Ok(Snapshot { transaction: from.transaction, trees: trees.into_keys().collect(), meta })
    }

    /// Whether no page is used twice, or used and free.
    fn check_disjoint(&mut self, meta: &Meta) -> Checked<()> {
        let mut lists = Vec::new();
        self.tree("free", &meta.free, by_number, &mut |key, value| {
            if key.len() != 8 || !(1..=meta.transaction).contains(&u64_at(key, 0)) {
                return Err("a list of free pages is not of a transaction".into());
            }
            lists.push(match value {
                Value::Here(list) => Ok(list.to_vec()),
                Value::Elsewhere { page, length } => Err((page, length)),
                Value::Tree(_) => return Err("a tree stands among the free pages".into()),
            });
            Ok(())
        })?;
        for list in lists {
            let list = match list {
                Ok(list) => list,
                Err((page, length)) => {
                    let mut list = vec![0; length];
                    read(self.file, &mut list, page, page * self.page_size as u64 + PAGE_HEADER as u64)?;
                    list
                }
            };
            let numbers: Vec<u64> = list.chunks_exact(8).map(|bytes| u64_at(bytes, 0)).collect();
            let free = match numbers.split_first() {
                Some((count, rest)) => rest.get(..usize::try_from(*count).unwrap_or(usize::MAX)),
                None => None,
            };
            let free = free.ok_or("a list of free pages is too short")?;
            if !free.is_sorted_by(|a, b| a > b) || free.first().is_some_and(|page| *page > self.last_page) {
                return Err("a list of free pages is not in order".into());
            }
            self.taken.extend(free.iter().map(|page| (*page, 1)));
        }
        self.taken.sort_unstable();
        let mut next = 2;
        for (first, count) in &self.taken {
            if *first < next {
                return Err(format!("page {first} is used twice, or used and free"));
            }
            next = first + count;
        }
        Ok(())
    }

    fn tree(&mut self, name: &str, tree: &Tree, order: Order, visit: Visit<'_>) -> Checked<()> {
        let mut counted = Tree { branches: 0, leaves: 0, overflows: 0, entries: 0, ..*tree };
        let walked = match (tree.root, tree.depth) {
            (NO_PAGE, 0) => Ok(()),
            (NO_PAGE, _) | (_, 0) => Err("its root does not suit its depth".into()),
            (root, depth) if depth <= DEPTH_MAX => self
                .page(root, depth, (None, None), order, &mut counted, visit)
                .map_err(|why| format!("{why}, below page {root}")),
            (_, depth) => Err(format!("it is {depth} deep")),
        };
        walked.map_err(|why| format!("tree {name}: {why}"))?;
        if counted == *tree {
            Ok(())
        } else {
            Err(format!("tree {name}: it counts other pages or records than it has"))
        }
    }

    fn take(&mut self, page: u64, count: u64) -> Checked<()> {
        let end = page.checked_add(count).ok_or("a page number is too large")?;
        if page < 2 || end > self.last_page + 1 {
            return Err(format!("page {page} is beyond the last, {}", self.last_page));
        }
        if end > self.pages_in_file {
            return Err(format!(
                "the file is truncated: it ends after page {}, and page {page} is in use",
                self.pages_in_file
            ));
        }
        self.taken.push((page, count));
        // Else a page that points back could be walked again and again.
        if self.taken.len() as u64 > self.last_page.min(self.pages_in_file) {
            return Err(format!("page {page} is used twice"));
        }
        Ok(())
    }

    /// Walks one page and those below it. Its keys lie in `bounds`, from the first on and below the second.
    fn page(
        &mut self,
        number: u64,
        depth: u16,
        bounds: (Option<&[u8]>, Option<&[u8]>),
        order: Order,
        counted: &mut Tree,
        visit: Visit<'_>,
    ) -> Checked<()> {
        self.take(number, 1)?;
        let mut bytes = vec![0; self.page_size];
        read(self.file, &mut bytes, number, number * self.page_size as u64)?;
        let page = Page::parse(&bytes, number, if depth == 1 { IS_LEAF } else { IS_BRANCH })?;
        let bad = |why: &str| Err(format!("page {number}: {why}"));
        for (at, node) in page.nodes.iter().enumerate() {
            // The first key of a branch page is not looked at: its child begins where the page does.
            if at > 0 || depth == 1 {
                let below = if at > usize::from(depth > 1) { Some(page.nodes[at - 1].key) } else { None };
                let out_of_order = below.is_some_and(|below| order(below, node.key) != Ordering::Less);
                let too_low = bounds.0.is_some_and(|low| order(node.key, low) == Ordering::Less);
                let too_high = bounds.1.is_some_and(|high| order(node.key, high) != Ordering::Less);
                if out_of_order || too_low || too_high {
                    return bad("its keys are not in order");
                }
            }
        }
        if depth > 1 {
            counted.branches += 1;
            for (at, node) in page.nodes.iter().enumerate() {
                let low = if at == 0 { bounds.0 } else { Some(node.key) };
                let high = page.nodes.get(at + 1).map(|next| next.key).or(bounds.1);
                self.page(node.child(), depth - 1, (low, high), order, counted, visit)?;
            }
            return Ok(());
        }
        counted.leaves += 1;
        counted.entries += page.nodes.len() as u64;
        for node in &page.nodes {
            let value = match node.flags {
                0 => Value::Here(node.data),
                IS_TREE => Value::Tree(Tree::read(node.data)?),
                ON_OVERFLOW => {
                    let (page, length) = (u64_at(node.data, 0), node.length);
                    let count = ((PAGE_HEADER - 1 + length) / self.page_size + 1) as u64;
                    self.take(page, count)?;
                    let mut header = [0; PAGE_HEADER];
                    read(self.file, &mut header, page, page * self.page_size as u64)?;
                    if u64_at(&header, 0) != page
                        || u16_at(&header, 10) != IS_OVERFLOW
                        || u64::from(u32_at(&header, 12)) != count
                    {
                        return Err(format!("page {page} is not the long record that page {number} means"));
                    }
                    counted.overflows += count;
                    Value::Elsewhere { page, length }
                }
                _ => return bad("a record has flags that are not used here"),
            };
            visit(node.key, value)?;
        }
        Ok(())
    }
}

type Order = fn(&[u8], &[u8]) -> Ordering;

fn by_number(a: &[u8], b: &[u8]) -> Ordering {
    let number = |key: &[u8]| <[u8; 8]>::try_from(key).map(u64::from_ne_bytes).unwrap_or(u64::MAX);
    number(a).cmp(&number(b))
}

struct Node<'p> {
    key: &'p [u8],
    data: &'p [u8],
    flags: u16,
    length: usize,
}

impl Node<'_> {
    /// Of a node in a branch page: where it leads. The page number fills length and flags.
    fn child(&self) -> u64 {
        self.length as u64 | u64::from(self.flags) << 32
    }
}

struct Page<'p> {
    nodes: Vec<Node<'p>>,
}

impl<'p> Page<'p> {
    fn parse(bytes: &'p [u8], number: u64, kind: u16) -> Checked<Page<'p>> {
        let bad = |why: &str| format!("page {number}: {why}");
        if u64_at(bytes, 0) != number || u16_at(bytes, 10) != kind {
            return Err(bad("it is not the page that is meant"));
        }
        let (lower, upper) = (usize::from(u16_at(bytes, 12)), usize::from(u16_at(bytes, 14)));
        if lower <= PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > bytes.len() {
            return Err(bad("its bounds are wrong"));
        }
        let mut total = 0;
        let mut nodes = Vec::new();
        for at in (PAGE_HEADER..lower).step_by(2) {
            let offset = usize::from(u16_at(bytes, at));
            let node = if offset >= upper { bytes.get(offset..) } else { None };
            let node =
                node.filter(|node| node.len() >= NODE_HEADER).ok_or_else(|| bad("a record begins outside of it"))?;
            let flags = u16_at(node, 4);
            let length = u32_at(node, 0) as usize;
            let here = match (kind, flags) {
                (IS_BRANCH, _) => 0,
                (_, ON_OVERFLOW) => 8,
                _ => length,
            };
            let key_end = NODE_HEADER + usize::from(u16_at(node, 6));
            let (Some(key), Some(data)) = (node.get(NODE_HEADER..key_end), node.get(key_end..key_end + here)) else {
                return Err(bad("a record ends outside of it"));
            };
            total += (key_end + here).next_multiple_of(2);
            nodes.push(Node { key, data, flags, length });
        }
        if total == bytes.len() - upper { Ok(Page { nodes }) } else { Err(bad("its records do not fill it")) }
    }
}

fn read(file: &File, bytes: &mut [u8], page: u64, at: u64) -> Checked<()> {
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => format!("the file is truncated: it ends before the end of page {page}"),
        _ => format!("page {page} cannot be read: {error}"),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
