#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A thread that runs one function, for work that may block.
package final class StoreThread: @unchecked Sendable {
    // Why unchecked: the handle never changes.
    private let thread: pthread_t

    package init(_ run: @escaping @Sendable () -> Void) {
        guard let thread = startThread(run) else { preconditionFailure("no thread for the store") }
        self.thread = thread
    }

    /// Waits for the end, once; on the thread itself only lets go of it.
    package func join() {
        if pthread_equal(self.thread, pthread_self()) != 0 {
            pthread_detach(self.thread)
        } else {
            pthread_join(self.thread, nil)
        }
    }
}

/// What a new thread is to run.
private final class ThreadBody {
    let run: @Sendable () -> Void

    init(_ run: @escaping @Sendable () -> Void) {
        self.run = run
    }
}

private func startThread(_ run: @escaping @Sendable () -> Void) -> pthread_t? {
    let body = Unmanaged.passRetained(ThreadBody(run))
    #if os(Linux)
        var thread = pthread_t()
    #else
        var thread: pthread_t?
    #endif
    let result = pthread_create(
        &thread, nil,
        { argument in
            #if os(Linux)
                guard let argument else { return nil }
            #endif
            Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }, body.toOpaque())
    precondition(result == 0, "no thread for the store")
    return thread
}
