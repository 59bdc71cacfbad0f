/// Walks over JSON text in memory and checks every byte against RFC 8259, without building anything.
///
/// Strict: no byte order mark, no comments, no trailing commas, UTF-8 is checked, nesting is limited. Escapes of lone
/// surrogates are let through, as the grammar allows them. Holds a pointer, so it must not outlive the closure that
/// gave the pointer.
struct JSONScanner {
    /// Deepest nesting of arrays and objects.
    static let maximumDepth = 512

    private let start: UnsafePointer<UInt8>
    private let end: UnsafePointer<UInt8>
    private var cursor: UnsafePointer<UInt8>

    /// `bytes` must not be empty.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return nil }
        self.start = base.assumingMemoryBound(to: UInt8.self)
        self.end = self.start + bytes.count
        self.cursor = self.start
    }

    /// Bytes before the place of the scanner.
    var position: Int { self.cursor - self.start }
    var isAtEnd: Bool { self.cursor == self.end }

    /// The next byte, if there is one.
    var peek: UInt8? { self.cursor < self.end ? self.cursor.pointee : nil }

    /// Steps over one byte that `peek` has shown.
    mutating func advance() {
        self.cursor += 1
    }

    @inline(__always)
    mutating func skipWhitespace() {
        while self.cursor < self.end {
            let byte = self.cursor.pointee
            if byte > 0x20 { return }
            guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return }
            self.cursor += 1
        }
    }

    private func fault(_ reason: JSONFault.Reason) -> JSONFault {
        self.cursor < self.end || reason == .tooDeep
            ? JSONFault(reason, at: self.position) : JSONFault(.unexpectedEnd, at: self.position)
    }

    /// Steps over one value. `depth` is how many arrays and objects are already open around it.
    mutating func skipValue(depth outerDepth: Int = 0) throws(JSONFault) {
        // Scalars at this level need no stack.
        self.skipWhitespace()
        guard let first = self.peek else { throw self.fault(.unexpectedEnd) }
        if first != UInt8(ascii: "{"), first != UInt8(ascii: "[") {
            return try self.skipScalar(first)
        }
        let fault: JSONFault? = withUnsafeTemporaryAllocation(
            of: UInt64.self, capacity: Self.maximumDepth / 64
        ) { stack in
            do throws(JSONFault) {
                try self.skipContainer(stack: stack, room: Self.maximumDepth - outerDepth)
                return nil
            } catch {
                return error
            }
        }
        if let fault { throw fault }
    }

    /// `stack` holds one bit for each open container: set for an object.
    private mutating func skipContainer(
        stack: UnsafeMutableBufferPointer<UInt64>, room: Int
    ) throws(JSONFault) {
        var depth = 0
        var isObject = false

        while true {
            // A value begins here.
            self.skipWhitespace()
            guard self.cursor < self.end else { throw self.fault(.unexpectedEnd) }
            let byte = self.cursor.pointee
            var valueEnded = true
            if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                guard depth < room else { throw self.fault(.tooDeep) }
                isObject = byte == UInt8(ascii: "{")
                let bit: UInt64 = 1 << UInt64(depth & 63)
                if isObject { stack[depth >> 6] |= bit } else { stack[depth >> 6] &= ~bit }
                depth += 1
                self.cursor += 1
                self.skipWhitespace()
                guard self.cursor < self.end else { throw self.fault(.unexpectedEnd) }
                if self.cursor.pointee == byte + 2 {
                    // "{" + 2 is "}", "[" + 2 is "]".
                    self.cursor += 1
                    depth -= 1
                    if depth > 0 { isObject = stack[(depth - 1) >> 6] & (1 << UInt64((depth - 1) & 63)) != 0 }
                } else {
                    if isObject { try self.skipKey() }
                    valueEnded = false
                }
            } else {
                try self.skipScalar(byte)
            }

            // A value has ended: close what closes, up to the next value.
            while valueEnded {
                if depth == 0 { return }
                self.skipWhitespace()
                guard self.cursor < self.end else { throw self.fault(.unexpectedEnd) }
                let byte = self.cursor.pointee
                if byte == UInt8(ascii: ",") {
                    self.cursor += 1
                    if isObject {
                        self.skipWhitespace()
                        try self.skipKey()
                    }
                    valueEnded = false
                } else if byte == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
                    self.cursor += 1
                    depth -= 1
                    if depth > 0 { isObject = stack[(depth - 1) >> 6] & (1 << UInt64((depth - 1) & 63)) != 0 }
                } else {
                    throw self.fault(.unexpectedByte)
                }
            }
        }
    }

    @inline(__always)
    private mutating func skipKey() throws(JSONFault) {
        guard self.cursor < self.end, self.cursor.pointee == UInt8(ascii: "\"") else {
            throw self.fault(.unexpectedByte)
        }
        try self.skipString()
        self.skipWhitespace()
        guard self.cursor < self.end, self.cursor.pointee == UInt8(ascii: ":") else {
            throw self.fault(.unexpectedByte)
        }
        self.cursor += 1
    }

    @inline(__always)
    private mutating func skipScalar(_ first: UInt8) throws(JSONFault) {
        switch first {
        case UInt8(ascii: "\""):
            try self.skipString()
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
            try self.skipNumber()
        case UInt8(ascii: "t"):
            try self.skipLiteral("true")
        case UInt8(ascii: "f"):
            try self.skipLiteral("false")
        case UInt8(ascii: "n"):
            try self.skipLiteral("null")
        default:
            throw self.fault(.unexpectedByte)
        }
    }

    private mutating func skipLiteral(_ word: StaticString) throws(JSONFault) {
        for index in 0..<word.utf8CodeUnitCount {
            guard self.cursor < self.end, self.cursor.pointee == word.utf8Start[index] else {
                throw self.fault(.invalidLiteral)
            }
            self.cursor += 1
        }
    }

    @inline(__always)
    private mutating func skipDigits() -> Bool {
        let before = self.cursor
        while self.cursor < self.end, self.cursor.pointee &- UInt8(ascii: "0") < 10 { self.cursor += 1 }
        return self.cursor > before
    }

    private mutating func skipNumber() throws(JSONFault) {
        if self.cursor.pointee == UInt8(ascii: "-") { self.cursor += 1 }
        guard self.cursor < self.end else { throw self.fault(.unexpectedEnd) }
        if self.cursor.pointee == UInt8(ascii: "0") {
            self.cursor += 1
            if self.cursor < self.end, self.cursor.pointee &- UInt8(ascii: "0") < 10 {
                throw self.fault(.invalidNumber)
            }
        } else {
            guard self.skipDigits() else { throw self.fault(.invalidNumber) }
        }
        if self.cursor < self.end, self.cursor.pointee == UInt8(ascii: ".") {
            self.cursor += 1
            guard self.skipDigits() else { throw self.fault(.invalidNumber) }
        }
        if self.cursor < self.end, self.cursor.pointee | 0x20 == UInt8(ascii: "e") {
            self.cursor += 1
            if self.cursor < self.end,
                self.cursor.pointee == UInt8(ascii: "+") || self.cursor.pointee == UInt8(ascii: "-")
            {
                self.cursor += 1
            }
            guard self.skipDigits() else { throw self.fault(.invalidNumber) }
        }
    }

    private mutating func skipString() throws(JSONFault) {
        self.cursor += 1
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highs: UInt64 = 0x8080_8080_8080_8080
        while true {
            // Eight bytes at a time while none is a quote, a backslash, a control character or above ASCII.
            while self.end - self.cursor >= 8 {
                let word = UInt64(
                    littleEndian: UnsafeRawPointer(self.cursor).loadUnaligned(as: UInt64.self))
                let quotes = word ^ 0x2222_2222_2222_2222
                let slashes = word ^ 0x5C5C_5C5C_5C5C_5C5C
                let special =
                    (((quotes &- ones) & ~quotes) | ((slashes &- ones) & ~slashes)
                        | ((word &- 0x2020_2020_2020_2020) & ~word) | word) & highs
                if special == 0 {
                    self.cursor += 8
                } else {
                    // Only the lowest mark is exact, and only that one is used.
                    self.cursor += special.trailingZeroBitCount >> 3
                    break
                }
            }
            guard self.cursor < self.end else { throw self.fault(.unexpectedEnd) }
            let byte = self.cursor.pointee
            if byte == UInt8(ascii: "\"") {
                self.cursor += 1
                return
            } else if byte == UInt8(ascii: "\\") {
                try self.skipEscape()
            } else if byte < 0x20 {
                throw self.fault(.controlCharacterInString)
            } else if byte < 0x80 {
                self.cursor += 1
            } else {
                repeat {
                    let length = UTF8Sequence.length(at: self.cursor, end: self.end)
                    guard length > 0 else { throw JSONFault(.invalidUTF8, at: self.position) }
                    self.cursor += length
                } while self.cursor < self.end && self.cursor.pointee >= 0x80
            }
        }
    }

    private mutating func skipEscape() throws(JSONFault) {
        self.cursor += 1
        guard self.cursor < self.end else { throw self.fault(.unexpectedEnd) }
        switch self.cursor.pointee {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            self.cursor += 1
        case UInt8(ascii: "u"):
            self.cursor += 1
            for _ in 0..<4 {
                guard self.cursor < self.end else { throw self.fault(.unexpectedEnd) }
                let byte = self.cursor.pointee
                guard byte &- UInt8(ascii: "0") < 10 || (byte | 0x20) &- UInt8(ascii: "a") < 6 else {
                    throw self.fault(.invalidEscape)
                }
                self.cursor += 1
            }
        default:
            throw self.fault(.invalidEscape)
        }
    }
}
