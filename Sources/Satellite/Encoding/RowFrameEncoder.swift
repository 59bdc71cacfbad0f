package import NIOCore

/// Turns the rows of a query into op log frames: the inserts of an initial delivery, or the removals after an
/// unsubscription.
///
/// Feed it rows, take what ``takeFrames(minimumBytes:)`` gives and hand it to the session; ``finish()`` gives the rest.
package struct RowFrameEncoder {
    private var operations = ByteBuffer()
    private var operationCount = 0
    private var frames = FrameBatch()
    private var tags = TagTextCache()

    package init() {}

    /// Appends an insert. `tagsText` is the text of the row's `_tags`; nil if it has no shadow row.
    ///
    /// - Returns: false if the tags are not a `tag[]`; nothing is appended then.
    package mutating func appendInsert(
        table: SatelliteTable, row: some RowTexts, tagsText: UnsafeRawBufferPointer?
    ) -> Bool {
        var tags = EncodedTags.epoch
        if let tagsText {
            guard let parsed = self.tags.encode(tagsText) else { return false }
            tags = parsed
        }
        OperationEncoder.appendInsert(table: table, row: row, tags: tags, to: &self.operations)
        self.operationAppended()
        return true
    }

    /// Appends the removal of a row; only its primary key is looked at.
    package mutating func appendGone(table: SatelliteTable, key: some RowTexts) {
        OperationEncoder.appendGone(table: table, row: key, to: &self.operations)
        self.operationAppended()
    }

    /// The complete frames made so far, if they are at least `minimumBytes`.
    package mutating func takeFrames(minimumBytes: Int) -> FrameBatch? {
        guard self.frames.byteCount >= minimumBytes, !self.frames.isEmpty else { return nil }
        let taken = self.frames
        self.frames = FrameBatch()
        return taken
    }

    /// Everything that is left; may be empty.
    package mutating func finish() -> FrameBatch {
        self.closeFrame()
        let taken = self.frames
        self.frames = FrameBatch()
        return taken
    }

    private mutating func operationAppended() {
        self.operationCount += 1
        if self.operationCount >= OpLogAssembler.operationsPerMessage { self.closeFrame() }
    }

    private mutating func closeFrame() {
        guard self.operationCount > 0 else { return }
        let operations = self.operations
        self.frames.appendFrame(payloadLength: 1 + operations.readableBytes) { buffer in
            buffer.writeInteger(SatelliteMessage.Code.opLog.rawValue)
            buffer.writeImmutableBuffer(operations)
        }
        self.operations.clear()
        self.operationCount = 0
    }
}

/// A row given as optional texts, for callers that have them as buffers.
package struct BufferRow: RowTexts {
    package var columns: [ByteBuffer?]

    package init(_ columns: [ByteBuffer?]) { self.columns = columns }

    package func withText<Result>(of column: Int, _ body: (UnsafeRawBufferPointer?) -> Result) -> Result {
        guard column < self.columns.count, let text = self.columns[column] else { return body(nil) }
        return text.withUnsafeReadableBytes { body($0) }
    }
}

/// A row given as pointers that live for the duration of a call (a driver's result, a COPY line).
package struct PointerRow: RowTexts {
    package var columns: [UnsafeRawBufferPointer?]

    package init(_ columns: [UnsafeRawBufferPointer?]) { self.columns = columns }

    package func withText<Result>(of column: Int, _ body: (UnsafeRawBufferPointer?) -> Result) -> Result {
        body(column < self.columns.count ? self.columns[column] : nil)
    }
}
