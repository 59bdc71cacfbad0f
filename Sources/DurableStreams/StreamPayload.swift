import NIOCore

/// The body of one request in the form in which it is stored.
///
/// Bytes of most types are stored as they are. Of JSON each message is stored as its text without the blanks around it,
/// followed by one comma, so that a range of messages becomes an array by putting brackets around all but the last comma.
package struct StreamPayload: Sendable {
    package var bytes: ByteBuffer
    /// Messages of a JSON body; 1 for other types, 0 when there are no bytes.
    package var messageCount: Int

    package init(bytes: ByteBuffer, messageCount: Int) {
        self.bytes = bytes
        self.messageCount = messageCount
    }

    package static let empty = StreamPayload(bytes: ByteBuffer(), messageCount: 0)

    /// Checks a body and brings it into stored form.
    ///
    /// Give the buffer away with `consume` where possible: a JSON array is then rewritten in place.
    ///
    /// - Parameter allowsEmptyArray: true for the body of a creation, where an empty array means an empty stream.
    package static func encode(
        body: consuming ByteBuffer, contentType: ContentType, allowsEmptyArray: Bool = false
    ) throws(StreamError) -> StreamPayload {
        if contentType.isJSON {
            return try Self.encodeJSON(body: body, allowsEmptyArray: allowsEmptyArray)
        }
        return StreamPayload(messageCount: body.readableBytes > 0 ? 1 : 0, bytes: body)
    }

    private init(messageCount: Int, bytes: consuming ByteBuffer) {
        self.bytes = bytes
        self.messageCount = messageCount
    }

    /// What the first walk over a JSON body has found.
    private enum Shape {
        /// One value, at these places of the body.
        case single(Range<Int>)
        /// An array whose elements, with the closing bracket, lie here; `isCompact` when no blanks stand around them.
        case array(Range<Int>, count: Int, isCompact: Bool)
    }

    private static func encodeJSON(
        body: consuming ByteBuffer, allowsEmptyArray: Bool
    ) throws(StreamError) -> StreamPayload {
        let shape: Shape
        switch body.withUnsafeReadableBytes({ Self.examine($0) }) {
        case .success(let found):
            shape = found
        case .failure(let fault):
            throw StreamError(.invalidJSON, fault.description)
        }

        switch shape {
        case .single(let range):
            body.moveReaderIndex(forwardBy: range.lowerBound)
            body.moveWriterIndex(to: body.readerIndex + range.count)
            body.writeInteger(UInt8(ascii: ","))
            return StreamPayload(messageCount: 1, bytes: body)
        case .array(_, count: 0, isCompact: _):
            guard allowsEmptyArray else {
                throw StreamError(.emptyArray, "An append needs at least one message.")
            }
            return .empty
        case .array(let range, let count, isCompact: true):
            // The closing bracket becomes the comma behind the last message.
            body.moveReaderIndex(forwardBy: range.lowerBound)
            body.moveWriterIndex(to: body.readerIndex + range.count)
            body.setInteger(UInt8(ascii: ","), at: body.writerIndex - 1)
            return StreamPayload(messageCount: count, bytes: body)
        case .array(let range, let count, isCompact: false):
            body.moveReaderIndex(forwardBy: range.lowerBound)
            body.moveWriterIndex(to: body.readerIndex + range.count)
            let length = body.withUnsafeMutableReadableBytes { Self.compact($0) }
            body.moveWriterIndex(to: body.readerIndex + length)
            return StreamPayload(messageCount: count, bytes: body)
        }
    }

    private static func examine(_ bytes: UnsafeRawBufferPointer) -> Result<Shape, JSONFault> {
        guard var scanner = JSONScanner(bytes) else { return .failure(JSONFault(.unexpectedEnd, at: 0)) }
        do throws(JSONFault) {
            return .success(try Self.shape(&scanner))
        } catch {
            return .failure(error)
        }
    }

    private static func shape(_ scanner: inout JSONScanner) throws(JSONFault) -> Shape {
        scanner.skipWhitespace()
        guard scanner.peek == UInt8(ascii: "[") else {
            let start = scanner.position
            try scanner.skipValue()
            let end = scanner.position
            try Self.expectEnd(&scanner)
            return .single(start..<end)
        }
        scanner.advance()
        let start = scanner.position
        scanner.skipWhitespace()
        if scanner.peek == UInt8(ascii: "]") {
            scanner.advance()
            try Self.expectEnd(&scanner)
            return .array(start..<start, count: 0, isCompact: true)
        }
        var count = 0
        var isCompact = scanner.position == start
        while true {
            try scanner.skipValue(depth: 1)
            count += 1
            let end = scanner.position
            scanner.skipWhitespace()
            guard let byte = scanner.peek else { throw JSONFault(.unexpectedEnd, at: scanner.position) }
            if scanner.position != end { isCompact = false }
            if byte == UInt8(ascii: "]") {
                scanner.advance()
                let end = scanner.position
                try Self.expectEnd(&scanner)
                return .array(start..<end, count: count, isCompact: isCompact)
            }
            guard byte == UInt8(ascii: ",") else { throw JSONFault(.unexpectedByte, at: scanner.position) }
            scanner.advance()
            let next = scanner.position
            scanner.skipWhitespace()
            if scanner.position != next { isCompact = false }
        }
    }

    private static func expectEnd(_ scanner: inout JSONScanner) throws(JSONFault) {
        scanner.skipWhitespace()
        guard scanner.isAtEnd else { throw JSONFault(.trailingBytes, at: scanner.position) }
    }

    /// Moves the elements of a checked array together, each followed by one comma; returns how many bytes they take.
    ///
    /// `bytes` holds the elements and the closing bracket. The result never overtakes the place that is read: each element
    /// was followed by a comma or the bracket already.
    private static func compact(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        guard let base = bytes.baseAddress, var scanner = JSONScanner(UnsafeRawBufferPointer(bytes)) else { return 0 }
        var length = 0
        while true {
            scanner.skipWhitespace()
            let start = scanner.position
            do throws(JSONFault) {
                try scanner.skipValue(depth: 1)
            } catch {
                // Why: the bytes were checked before, so this is never reached; the loop must end all the same.
                return length
            }
            let count = scanner.position - start
            (base + length).copyMemory(from: base + start, byteCount: count)
            scanner.skipWhitespace()
            let isLast = scanner.peek != UInt8(ascii: ",")
            // Only now may the place behind the element be overwritten: it could be the very byte just looked at.
            length += count
            if !isLast { scanner.advance() }
            bytes[length] = UInt8(ascii: ",")
            length += 1
            if isLast { return length }
        }
    }
}
