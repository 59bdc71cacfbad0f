import NIOCore

/// The messages of a JSON stream in stored form: each followed by one comma.
package enum StoredMessages {
    /// Bytes that the first `count` messages take, with their commas; nil when there are fewer.
    package static func length(ofFirst count: UInt64, in bytes: ByteBuffer) -> Int? {
        if count == 0 { return 0 }
        return bytes.withUnsafeReadableBytes { pointer -> Int? in
            guard var scanner = JSONScanner(pointer) else { return nil }
            var found: UInt64 = 0
            while found < count {
                guard Self.skipMessage(&scanner) else { return nil }
                found += 1
            }
            return scanner.position
        }
    }

    /// Calls `body` with each message, without its comma, as a slice of `bytes`. Returns false when the bytes end in the
    /// middle of a message; the whole messages before that were delivered.
    @discardableResult
    package static func forEach(in bytes: ByteBuffer, _ body: (ByteBuffer) throws -> Void) rethrows -> Bool {
        var rest = bytes
        while rest.readableBytes > 0 {
            let length = rest.withUnsafeReadableBytes { pointer -> Int? in
                guard var scanner = JSONScanner(pointer), Self.skipMessage(&scanner) else { return nil }
                return scanner.position
            }
            guard let length, let message = rest.readSlice(length: length) else { return false }
            try body(message.getSlice(at: message.readerIndex, length: length - 1) ?? message)
        }
        return true
    }

    /// Whether a message ends where these bytes do: they begin with one, and may be cut off anywhere.
    package static func endWithMessage(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let last = bytes.last else { return true }
        guard last == UInt8(ascii: ","), var scanner = JSONScanner(bytes) else { return false }
        while !scanner.isAtEnd {
            guard Self.skipMessage(&scanner) else { return false }
        }
        return true
    }

    private static func skipMessage(_ scanner: inout JSONScanner) -> Bool {
        do throws(JSONFault) {
            try scanner.skipValue(depth: 1)
        } catch {
            return false
        }
        guard scanner.peek == UInt8(ascii: ",") else { return false }
        scanner.advance()
        return true
    }
}
