import NIOCore

/// What is sent to the live readers of one place of a stream: encoded once, shared by all of them.
package struct EventBatch: Hashable, Sendable {
    /// The events, ready for the wire.
    package var bytes: ByteBuffer
    /// Up to where data was sent: what the control event says, and where the next read begins. It lies before the end of
    /// the range that was read when that end cuts a character of a text in two.
    package var delivered: UInt64
    package var hasData: Bool
}

/// The framing of server-sent events.
package enum EventStream {
    /// A comment that keeps proxies from closing a quiet connection.
    package static let keepAlive = ByteBuffer(staticString: ": keep-alive\n\n")

    /// Tells event sources of browsers how long to wait before they come back.
    ///
    /// A line of the event that follows: a block of its own would be an event without a name and data to simple readers.
    package static func retry(milliseconds: UInt64) -> ByteBuffer {
        ByteBuffer(string: "retry: \(milliseconds)\n")
    }

    /// The events for a range that was read: one with the data, if there is any, and one that says where the reader
    /// stands.
    ///
    /// Text that ends within a character keeps the beginning of it back until the rest has been written: the offset in
    /// the control event stays before it. Only at the end of a closed stream is the fragment sent, as a replacement
    /// character, and so are bytes that can never become UTF-8.
    ///
    /// - Parameter stored: the bytes of the range, as stored.
    package static func batch(stored: ByteBuffer, facts: ReadFacts) -> EventBatch {
        var output = ByteBuffer()
        var delivered = facts.end
        var hasData = false
        stored.withUnsafeReadableBytes { bytes in
            guard !bytes.isEmpty else { return }
            switch facts.contentType.kind {
            case .json:
                output.reserveCapacity(bytes.count + bytes.count / 8 + 256)
                output.writeStaticString("event: data\ndata:[")
                Self.writeLines(UnsafeRawBufferPointer(rebasing: bytes.dropLast()), into: &output)
                output.writeStaticString("]\n\n")
                hasData = true
            case .binary:
                output.reserveCapacity(bytes.count / 3 * 4 + 256)
                output.writeStaticString("event: data\ndata:")
                output.writeBase64(bytes)
                output.writeStaticString("\n\n")
                hasData = true
            case .text:
                let held = facts.isFinal ? 0 : UTF8Sequence.incompleteTail(bytes)
                delivered -= UInt64(held)
                guard bytes.count > held else { return }
                output.reserveCapacity(bytes.count + bytes.count / 8 + 256)
                output.writeStaticString("event: data\ndata:")
                Self.writeText(UnsafeRawBufferPointer(rebasing: bytes.dropLast(held)), into: &output)
                output.writeStaticString("\n\n")
                hasData = true
            }
        }
        Self.writeControl(facts, delivered: delivered, into: &output)
        return EventBatch(bytes: output, delivered: delivered, hasData: hasData)
    }

    private static func writeControl(_ facts: ReadFacts, delivered: UInt64, into output: inout ByteBuffer) {
        let token = StreamOffset(position: delivered).token
        // Why: the line of the data comes right behind the one of the event, as known clients expect; the id, an extension
        // for the event sources of browsers, stands after it.
        output.writeStaticString("event: control\ndata:{\"streamNextOffset\":\"")
        output.writeString(token)
        output.writeStaticString("\"")
        if !facts.isFinal, let cursor = facts.cursor {
            output.writeStaticString(",\"streamCursor\":\"")
            output.writeString(String(cursor))
            output.writeStaticString("\"")
        }
        if facts.isAtTail { output.writeStaticString(",\"upToDate\":true") }
        if facts.isFinal { output.writeStaticString(",\"streamClosed\":true") }
        output.writeStaticString("}\nid: ")
        output.writeString(token)
        output.writeStaticString("\n\n")
    }

    private static func writeText(_ bytes: UnsafeRawBufferPointer, into output: inout ByteBuffer) {
        if bytes.first == UInt8(ascii: " ") { output.writeInteger(UInt8(ascii: " ")) }
        guard UTF8Sequence.isValid(bytes) else {
            var repaired = String(decoding: bytes, as: UTF8.self)
            repaired.withUTF8 { Self.writeLines(UnsafeRawBufferPointer($0), into: &output) }
            return
        }
        Self.writeLines(bytes, into: &output)
    }

    /// Writes text behind a `data:` that is already there; each line break (CRLF, CR or LF) begins a new one.
    ///
    /// Readers take one blank away behind the colon, so a line that begins with one gets another.
    private static func writeLines(_ bytes: UnsafeRawBufferPointer, into output: inout ByteBuffer) {
        var start = 0
        while let lineBreak = Self.lineBreak(in: bytes, from: start) {
            output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[start..<lineBreak]))
            output.writeStaticString("\ndata:")
            start = lineBreak + 1
            if bytes[lineBreak] == 0x0D, start < bytes.count, bytes[start] == 0x0A { start += 1 }
            if start < bytes.count, bytes[start] == UInt8(ascii: " ") { output.writeInteger(UInt8(ascii: " ")) }
        }
        output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[start...]))
    }

    private static func lineBreak(in bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
        let ones: UInt64 = 0x0101_0101_0101_0101
        var index = start
        while index + 8 <= bytes.count {
            let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            let feeds = word ^ 0x0A0A_0A0A_0A0A_0A0A
            let returns = word ^ 0x0D0D_0D0D_0D0D_0D0D
            let found = (((feeds &- ones) & ~feeds) | ((returns &- ones) & ~returns)) & 0x8080_8080_8080_8080
            if found != 0 { return index + found.trailingZeroBitCount >> 3 }
            index += 8
        }
        while index < bytes.count {
            if bytes[index] == 0x0A || bytes[index] == 0x0D { return index }
            index += 1
        }
        return nil
    }
}
