#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Wakes one thread. A signal raised while nobody waits is kept.
package final class ThreadSignal: @unchecked Sendable {
    // Why unchecked: the pointers never change, and what they point to is made for use by several threads.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    /// Guarded by `mutex`.
    private var isRaised = false

    package init() {
        self.mutex.initialize(to: pthread_mutex_t())
        self.condition.initialize(to: pthread_cond_t())
        pthread_mutex_init(self.mutex, nil)
        pthread_cond_init(self.condition, nil)
    }

    deinit {
        pthread_cond_destroy(self.condition)
        pthread_mutex_destroy(self.mutex)
        self.condition.deallocate()
        self.mutex.deallocate()
    }

    package func raise() {
        pthread_mutex_lock(self.mutex)
        self.isRaised = true
        pthread_cond_signal(self.condition)
        pthread_mutex_unlock(self.mutex)
    }

    package func wait() {
        pthread_mutex_lock(self.mutex)
        while !self.isRaised { pthread_cond_wait(self.condition, self.mutex) }
        self.isRaised = false
        pthread_mutex_unlock(self.mutex)
    }

    /// Returns false when the time was over first.
    @discardableResult
    package func wait(milliseconds: Int) -> Bool {
        var deadline = timespec()
        clock_gettime(CLOCK_REALTIME, &deadline)
        let nanoseconds = Int(deadline.tv_nsec) + (milliseconds % 1000) * 1_000_000
        deadline.tv_sec += milliseconds / 1000 + nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        while !self.isRaised {
            if pthread_cond_timedwait(self.condition, self.mutex, &deadline) == ETIMEDOUT { break }
        }
        defer { self.isRaised = false }
        return self.isRaised
    }
}
