import CLibPQ

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif
/// A thread of its own that runs jobs one after the other: the place for calls that block.
///
/// It is the serial executor of ``PostgresConnection``, so libpq never blocks an event loop or the cooperative pool.
/// The thread ends after ``shutdown()``, once the jobs already enqueued have run.
final class ThreadExecutor: SerialExecutor {
    private struct State {
        var jobs: [UnownedJob] = []
        var isShutDown = false
    }

    /// A condition variable and its mutex, which `Synchronization` does not offer.
    // Why unchecked: all access to `state` happens with the mutex held.
    private final class Queue: @unchecked Sendable {
        private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
        private var state = State()

        init() {
            pthread_mutex_init(self.mutex, nil)
            pthread_cond_init(self.condition, nil)
        }

        deinit {
            pthread_cond_destroy(self.condition)
            pthread_mutex_destroy(self.mutex)
            self.condition.deallocate()
            self.mutex.deallocate()
        }

        func change(_ body: (inout State) -> Void) {
            pthread_mutex_lock(self.mutex)
            body(&self.state)
            pthread_cond_signal(self.condition)
            pthread_mutex_unlock(self.mutex)
        }

        /// All waiting jobs; nil when there will be no more.
        func next() -> [UnownedJob]? {
            pthread_mutex_lock(self.mutex)
            defer { pthread_mutex_unlock(self.mutex) }
            while self.state.jobs.isEmpty {
                if self.state.isShutDown { return nil }
                pthread_cond_wait(self.condition, self.mutex)
            }
            let jobs = self.state.jobs
            self.state.jobs = []
            return jobs
        }
    }

    private let queue = Queue()

    /// Nil when the system has no thread to give.
    init?(name: String) {
        let queue = self.queue
        // Why weak: the thread lives as long as its queue; jobs are only enqueued while somebody holds the executor.
        let hasStarted = BackgroundThread.start(name: name) { [weak self] in
            while let jobs = queue.next() {
                for job in jobs {
                    guard let self else { return }
                    job.runSynchronously(on: self.asUnownedSerialExecutor())
                }
            }
        }
        if !hasStarted { return nil }
    }

    deinit {
        self.shutdown()
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        self.queue.change { $0.jobs.append(unowned) }
    }

    func shutdown() {
        self.queue.change { $0.isShutDown = true }
    }
}

/// Threads for work that blocks and has no event loop to live on.
package enum BackgroundThread {
    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Starts a detached thread; false when the system has none to give.
    @discardableResult
    package static func start(name: String, _ run: @escaping @Sendable () -> Void) -> Bool {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        pthread_attr_setstacksize(&attributes, 512 * 1024)
        defer { pthread_attr_destroy(&attributes) }
        let body = Unmanaged.passRetained(Body(name: name, run: run))
        #if canImport(Darwin)
            var thread: pthread_t?
            let status = pthread_create(&thread, &attributes, { Self.main($0) }, body.toOpaque())
        #else
            var thread = pthread_t()
            let status = pthread_create(&thread, &attributes, { Self.main($0!) }, body.toOpaque())
        #endif
        if status != 0 { body.release() }
        return status == 0
    }

    private static func main(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
        let body = Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
        penstock_name_thread(body.name)
        body.run()
        return nil
    }
}
