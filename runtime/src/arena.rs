//! Zeroed, aligned memory that lives as long as its owner: the arena and per-thread scratch.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Alignment of every allocation: one cache line, which is also one 512-bit vector.
pub const CACHE_LINE: usize = 64;

/// Size and alignment of a huge page on x86-64 and on most AArch64 systems.
const HUGE_PAGE: usize = 2 << 20;

/// From this size on, memory is mapped in huge pages. Below, the memory wasted by rounding
/// would outweigh the saved page walks.
const HUGE_PAGE_THRESHOLD: usize = 2 * HUGE_PAGE;

/// A block of zero-initialized bytes at a fixed address.
///
/// The bytes are reached through raw pointers only: threads of a team write disjoint parts at
/// the same time, which no reference to the whole could describe.
#[derive(Debug)]
pub struct Arena {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the arena owns plain bytes; it hands out raw pointers, whose users answer for races.
unsafe impl Send for Arena {}
// SAFETY: as above; no method reads or writes the bytes.
unsafe impl Sync for Arena {}

impl Arena {
    /// Allocates `bytes` zeroed bytes, aligned to [`CACHE_LINE`], or to huge pages where that
    /// pays.
    ///
    /// # Panics
    /// If `bytes` does not fit the address space. Aborts when memory is exhausted.
    pub fn new(bytes: usize) -> Arena {
        let align = if bytes >= HUGE_PAGE_THRESHOLD { HUGE_PAGE } else { CACHE_LINE };
        let size = bytes.max(1).checked_next_multiple_of(align).expect("arena too large");
        let layout = Layout::from_size_align(size, align).expect("arena too large");
        let start = if align == HUGE_PAGE {
            pages::map(layout)
        } else {
            // SAFETY: the size is not zero.
            NonNull::new(unsafe { alloc_zeroed(layout) })
        };
        let Some(start) = start else { handle_alloc_error(layout) };
        Arena { start, layout }
    }

    /// Address of the first byte.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Size in bytes, as allocated (at least what was asked for).
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `new` took the memory from the same place with this layout.
        unsafe {
            if self.layout.align() == HUGE_PAGE {
                pages::unmap(self.start, self.layout);
            } else {
                dealloc(self.start.as_ptr(), self.layout);
            }
        }
    }
}

/// Large blocks come straight from the kernel: it zeroes pages when they are first touched
/// (where an aligned `alloc_zeroed` writes them all at once), by whichever thread uses them, in
/// huge pages if asked before that.
#[cfg(target_os = "linux")]
mod pages {
    use super::*;

    /// Maps memory of this layout, or nothing if there is none left.
    pub fn map(layout: Layout) -> Option<NonNull<u8>> {
        // Mappings are aligned to small pages; map more and give back both ends.
        let length = layout.size().checked_add(layout.align())?;
        let (read_write, private) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping touches no existing memory.
        let mapped =
            unsafe { libc::mmap(std::ptr::null_mut(), length, read_write, private, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        let before = mapped.align_offset(layout.align());
        // SAFETY: all three ranges lie in the mapping just made and hold whole pages, since the
        // layout's size and alignment are multiples of the page size. The advice leaves the
        // contents alone, and its refusal is harmless.
        unsafe {
            let start = mapped.byte_add(before);
            let end = start.byte_add(layout.size());
            if before > 0 {
                libc::munmap(mapped, before);
            }
            libc::munmap(end, layout.align() - before);
            libc::madvise(start, layout.size(), libc::MADV_HUGEPAGE);
            NonNull::new(start.cast())
        }
    }

    /// Gives memory back.
    ///
    /// # Safety
    /// `start` came from [`map`] with this layout and is not used afterwards.
    pub unsafe fn unmap(start: NonNull<u8>, layout: Layout) {
        // SAFETY: by the caller's promise.
        unsafe { libc::munmap(start.as_ptr().cast(), layout.size()) };
    }
}

#[cfg(not(target_os = "linux"))]
mod pages {
    use super::*;

    /// Allocates memory of this layout, or nothing if there is none left.
    pub fn map(layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: large layouts are not empty.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// Gives memory back.
    ///
    /// # Safety
    /// `start` came from [`map`] with this layout and is not used afterwards.
    pub unsafe fn unmap(start: NonNull<u8>, layout: Layout) {
        // SAFETY: by the caller's promise.
        unsafe { dealloc(start.as_ptr(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_writable() {
        for bytes in [0, 1, 63, 4096, HUGE_PAGE_THRESHOLD + 5] {
            let arena = Arena::new(bytes);
            let align = if bytes >= HUGE_PAGE_THRESHOLD { HUGE_PAGE } else { CACHE_LINE };
            assert_eq!(arena.start() as usize % align, 0);
            assert!(arena.bytes() >= bytes);
            // SAFETY: the arena holds `bytes` initialized bytes and nobody else uses them.
            let contents = unsafe { std::slice::from_raw_parts_mut(arena.start(), bytes) };
            assert!(contents.iter().all(|&byte| byte == 0));
            contents.fill(7);
        }
    }
}
