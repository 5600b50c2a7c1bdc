//! A shorter time slice for a thread that others wait for.
//!
//! A thread that wakes up on a busy processor waits until the scheduler takes it from the one that runs, which may be for the
//! rest of that one's slice, milliseconds. The log's writing thread wakes up twice a commit, for microseconds of work each time,
//! and what it waits then, each message of the commit waits. Linux lets a thread ask for a slice of its own, without any
//! privilege, and lets a thread with a short slice interrupt one with a longer when it wakes up, as long as it has had no more
//! than its share (6.12 and later; older ones take the request and change nothing). It gets no more processor time by that, only
//! sooner.
#![expect(unsafe_code, reason = "rustix has no sched_setattr")]

use std::{io, mem, time::Duration};

use libc::{
    SCHED_BATCH, SCHED_OTHER, SYS_sched_getattr, SYS_sched_setattr, c_int, c_long, sched_attr, syscall,
};

/// The shortest that Linux gives: it rounds up to it what is below (`__setparam_fair` in `kernel/sched/syscalls.c`).
const SHORTEST: Duration = Duration::from_micros(100);

/// Asks for the shortest slice for the calling thread, whose other settings stay. A thread that runs by a real-time policy is
/// left alone: it waits for nobody here.
///
/// # Errors
///
/// The system's, where it refuses, as a sandbox may; the thread runs on as before.
pub(super) fn shorten() -> io::Result<()> {
    let mut attributes = attributes()?;
    if [SCHED_OTHER, SCHED_BATCH].map(c_int::cast_unsigned).contains(&attributes.sched_policy) {
        attributes.sched_runtime = u64::try_from(SHORTEST.as_nanos()).expect("a slice fits");
        set(&mut attributes)?;
    }
    Ok(())
}

/// What the calling thread is scheduled by.
fn attributes() -> io::Result<sched_attr> {
    let size = u32::try_from(size_of::<sched_attr>()).expect("a structure fits");
    // SAFETY: the structure consists of numbers, for which zero is a value.
    let mut attributes: sched_attr = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, which is what the structure has.
    done(unsafe { syscall(SYS_sched_getattr, 0, &raw mut attributes, size, 0) })?;
    Ok(attributes)
}

/// Has the calling thread scheduled so.
fn set(attributes: &mut sched_attr) -> io::Result<()> {
    attributes.size = u32::try_from(size_of::<sched_attr>()).expect("a structure fits");
    // SAFETY: the kernel reads `size` bytes, which is what the structure has, and writes that field alone.
    done(unsafe { syscall(SYS_sched_setattr, 0, &raw mut *attributes, 0) })
}

fn done(result: c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_is_short_and_all_else_stays() {
        std::thread::spawn(|| {
            let before = attributes().unwrap();
            if let Err(error) = shorten() {
                assert_eq!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied,
                    "only a sandbox may refuse: {error}"
                );
                return;
            }
            let after = attributes().unwrap();
            assert_eq!(
                (after.sched_policy, after.sched_nice, after.sched_priority),
                (before.sched_policy, before.sched_nice, before.sched_priority)
            );
            // Kernels before 6.12 have no slice of a thread's own, and tell none; nor is there one by other policies.
            if before.sched_runtime != 0 && before.sched_policy == SCHED_OTHER.cast_unsigned() {
                assert_eq!(Duration::from_nanos(after.sched_runtime), SHORTEST);
            }
        })
        .join()
        .unwrap();
    }
}
