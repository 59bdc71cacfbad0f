import StreamStore
import Synchronization

/// The thread of a directory for what happens by itself: checkpoints, deferred syncs, expiry.
final class MaintenanceThread: Sendable {
    private struct State {
        var isStopping = false
        var wantsCheckpoint = false
        var thread: StoreThread?
    }

    private let state = Mutex(State())
    private let signal = ThreadSignal()

    func start(_ directory: StreamDirectory) {
        guard directory.configuration.runsThreads else { return }
        let thread = StoreThread { [weak directory] in
            guard let self = directory?.maintenance else { return }
            self.run { directory }
        }
        self.state.withLock { $0.thread = thread }
    }

    /// A checkpoint is wanted before its time.
    func requestCheckpoint() {
        self.state.withLock { $0.wantsCheckpoint = true }
        self.signal.raise()
    }

    /// Ends the thread and waits for it, except on itself.
    func stop() {
        let thread = self.state.withLock { state in
            state.isStopping = true
            defer { state.thread = nil }
            return state.thread
        }
        self.signal.raise()
        thread?.join()
    }

    private func run(_ directory: () -> StreamDirectory?) {
        let clock = ContinuousClock()
        var nextSweep = clock.now + .seconds(1)
        var nextCheckpoint: ContinuousClock.Instant?
        var nextSync: ContinuousClock.Instant?
        while let current = directory() {
            let configuration = current.configuration
            let (isStopping, isWanted) = self.state.withLock { state in
                defer { state.wantsCheckpoint = false }
                return (state.isStopping, state.wantsCheckpoint)
            }
            if isStopping { return }
            let now = clock.now
            if now >= nextSweep {
                current.sweep(now: current.clock())
                if configuration.appliesRetention { current.applyRetention(now: current.clock()) }
                current.lookForRoom()
                nextSweep = now + .seconds(1)
            }
            var wakeUp = nextSweep
            if case .files(let engine) = current.engine {
                let checkpoint = nextCheckpoint ?? now + configuration.checkpointInterval
                if isWanted || now >= checkpoint {
                    engine.checkpointQuietly(current)
                    nextCheckpoint = clock.now + configuration.checkpointInterval
                } else {
                    nextCheckpoint = checkpoint
                }
                wakeUp = min(wakeUp, nextCheckpoint ?? wakeUp)
                if configuration.mode == .fileFast {
                    let sync = nextSync ?? now + configuration.syncInterval
                    if now >= sync {
                        engine.syncQuietly()
                        nextSync = clock.now + configuration.syncInterval
                    } else {
                        nextSync = sync
                    }
                    wakeUp = min(wakeUp, nextSync ?? wakeUp)
                }
            }
            let wait = clock.now.duration(to: wakeUp)
            let milliseconds =
                Int(wait.components.seconds) * 1000 + Int(wait.components.attoseconds / 1_000_000_000_000_000)
            _ = self.signal.wait(milliseconds: max(1, milliseconds))
        }
    }
}
