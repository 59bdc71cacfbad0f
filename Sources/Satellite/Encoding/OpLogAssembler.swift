internal import NIOCore

/// Cuts a sequence of encoded operations into `SatOpLog` messages of a bounded number of operations.
///
/// Operations are given as slices of a shared buffer; neighbouring ones are copied together.
struct OpLogAssembler {
    /// What the clients' test suites and the legacy service use.
    static let operationsPerMessage = 100

    private(set) var frames: FrameBatch
    private var parts: [ByteBuffer] = []
    private var partBytes = 0
    private var operationCount = 0
    /// A run of neighbouring operations that is not yet a part.
    private var run: Range<Int>?

    init() {
        self.frames = FrameBatch()
    }

    /// Appends an operation that stands alone.
    mutating func append(_ operation: [UInt8]) {
        self.append(ByteBuffer(bytes: operation))
    }

    mutating func append(_ operation: ByteBuffer) {
        self.closeMessageIfFull()
        self.addPart(operation)
        self.operationCount += 1
    }

    /// Appends the operations at `range` of `source`; call ``finishRun(_:)`` before another source is used.
    mutating func append(_ range: Range<Int>, of source: ByteBuffer) {
        if self.operationCount >= Self.operationsPerMessage {
            self.finishRun(source)
            self.closeMessageIfFull()
        }
        if let run = self.run, run.upperBound == range.lowerBound {
            self.run = run.lowerBound..<range.upperBound
        } else {
            self.finishRun(source)
            self.run = range
        }
        self.operationCount += 1
    }

    mutating func finishRun(_ source: ByteBuffer) {
        guard let run = self.run else { return }
        self.run = nil
        if let slice = source.getSlice(at: run.lowerBound, length: run.count) { self.addPart(slice) }
    }

    /// The frames, once everything has been appended.
    mutating func finish() -> FrameBatch {
        self.closeMessage()
        return self.frames
    }

    private mutating func addPart(_ part: ByteBuffer) {
        self.parts.append(part)
        self.partBytes += part.readableBytes
    }

    private mutating func closeMessageIfFull() {
        if self.operationCount >= Self.operationsPerMessage { self.closeMessage() }
    }

    private mutating func closeMessage() {
        guard self.operationCount > 0 else { return }
        let parts = self.parts
        self.frames.appendFrame(payloadLength: 1 + self.partBytes) { buffer in
            buffer.writeInteger(SatelliteMessage.Code.opLog.rawValue)
            for part in parts { buffer.writeImmutableBuffer(part) }
        }
        self.parts.removeAll(keepingCapacity: true)
        self.partBytes = 0
        self.operationCount = 0
    }
}
