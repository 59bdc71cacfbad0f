import Dispatch
import DurableStreams
import NIOCore
import StreamStoreTestSupport
import Synchronization
import Testing

@testable import StreamDirectory
@testable import StreamStore

/// A checkpoint on one thread while another is in the middle of a flush.
@Suite(.timeLimit(.minutes(1))) struct CheckpointMomentTests {
    /// The log's end is published a moment before the streams get their bytes. A checkpoint in between must neither take the
    /// store for damaged nor leave out what is durable.
    @Test(arguments: TestMode.files)
    func checkpointBetweenPublishingAndSettlingWaits(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        try harness.create("a", body: "first;")
        guard case .files(let engine) = harness.directory.engine else {
            Issue.record("the directory has no files")
            return
        }
        let directory = harness.directory
        let settle = engine.log.state.withLock { $0.deliveryObserver }
        let result = Box<Result<Void, any Error>?>(nil)
        let isDone = DispatchSemaphore(value: 0)
        let hasBegun = Box(false)
        engine.log.onDelivery { delivery in
            if !hasBegun.value {
                hasBegun.value = true
                DispatchQueue(label: "checkpoint").async {
                    result.value = Result { try directory.checkpoint() }
                    isDone.signal()
                }
                // A checkpoint that waits cannot be seen to; one that does not is done long before.
                if isDone.wait(timeout: .now() + .milliseconds(200)) == .success { isDone.signal() }
            }
            settle?(delivery)
        }
        try harness.append("a", "second")
        isDone.wait()
        try result.value?.get()
        #expect(directory.condition == .healthy)
        #expect(try harness.text("a") == "first;second")
        try harness.losePower()
        #expect(try harness.text("a") == "first;second")
    }
}
