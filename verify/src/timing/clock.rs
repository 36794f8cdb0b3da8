//! The stopwatch of one slice.

use std::time::Duration;

/// Time that `work` holds the CPU, from a state in which no earlier code slows it down.
///
/// # Panics
/// If the system has no clock for threads.
pub fn cpu_time(work: impl FnOnce()) -> Duration {
    clear_upper_halves();
    let start = thread_time();
    work();
    thread_time().saturating_sub(start)
}

/// Time that this thread has had the CPU. A preempted slice is no longer than an undisturbed one.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec to `time`, which is a live one.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "the system has no clock for threads: {}", std::io::Error::last_os_error());
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Zeroes the upper halves of the vector registers. Code that leaves them dirty makes SSE code after it up to twice as
/// slow, which would show as a speed-up of whoever left them so.
#[cfg(target_arch = "x86_64")]
fn clear_upper_halves() {
    #[target_feature(enable = "avx")]
    fn clear() {
        std::arch::x86_64::_mm256_zeroupper();
    }
    if is_x86_feature_detected!("avx") {
        // SAFETY: the CPU has AVX, as just detected.
        unsafe { clear() };
    }
}

/// Registers of other machines have no upper halves that slow anything down.
#[cfg(not(target_arch = "x86_64"))]
fn clear_upper_halves() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_costs_no_cpu_time_and_working_does() {
        let waiting = cpu_time(|| std::thread::sleep(Duration::from_millis(20)));
        assert!(waiting < Duration::from_millis(5), "{waiting:?}");
        let start = thread_time();
        let working = cpu_time(|| while thread_time() < start + Duration::from_millis(2) {});
        assert!(working > Duration::from_millis(1), "{working:?}");
    }
}
