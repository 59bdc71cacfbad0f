import DurableStreams
import NIOCore

/// One value of valid JSON, taken apart without building a tree: parts are slices of the same memory.
struct JSONSlice {
    let bytes: ByteBuffer

    /// `bytes` must hold one valid value, blanks around it at most.
    init(_ bytes: ByteBuffer) {
        self.bytes = bytes
    }

    var isObject: Bool { self.first == UInt8(ascii: "{") }
    var isNull: Bool { self.first == UInt8(ascii: "n") }

    private var first: UInt8? {
        self.bytes.withUnsafeReadableBytes { bytes in bytes.first { $0 > 0x20 } }
    }

    /// The text of a string; nil for everything else.
    var string: String? {
        guard self.first == UInt8(ascii: "\"") else { return nil }
        return JSONValue(self.bytes)?.stringValue
    }

    /// Text of a string, a number or a literal as it stands; nil for null and for what has parts.
    var scalarText: String? {
        switch self.first {
        case UInt8(ascii: "\""): self.string
        case UInt8(ascii: "{"), UInt8(ascii: "["), UInt8(ascii: "n"), nil: nil
        default: String(buffer: self.bytes).trimmingBlanks
        }
    }

    /// The value at a path of member names; nil if there is none.
    func value(at path: [String]) -> JSONSlice? {
        var current = self
        for name in path {
            guard let next = current.member(name) else { return nil }
            current = next
        }
        return current
    }

    /// The last member of that name, as Postgres takes it.
    func member(_ name: String) -> JSONSlice? {
        guard self.isObject else { return nil }
        let range = self.bytes.withUnsafeReadableBytes { bytes -> Range<Int>? in
            var walker = Walker(bytes: bytes)
            return walker.lastMember(Array(name.utf8))
        }
        guard let range,
            let slice = self.bytes.getSlice(at: self.bytes.readerIndex + range.lowerBound, length: range.count)
        else { return nil }
        return JSONSlice(slice)
    }

    /// Walks over text that is known to be valid.
    private struct Walker {
        let bytes: UnsafeRawBufferPointer
        var index = 0

        private var byte: UInt8 { self.index < self.bytes.count ? self.bytes[self.index] : 0 }
        private var isAtEnd: Bool { self.index >= self.bytes.count }

        private mutating func skipBlanks() {
            while !self.isAtEnd, self.byte <= 0x20 { self.index += 1 }
        }

        mutating func lastMember(_ name: [UInt8]) -> Range<Int>? {
            var found: Range<Int>?
            self.skipBlanks()
            self.index += 1
            while true {
                self.skipBlanks()
                guard self.byte == UInt8(ascii: "\"") else { return found }
                let start = self.index
                self.skipString()
                let isMatch = self.isString(start..<self.index, name)
                self.skipBlanks()
                self.index += 1
                self.skipBlanks()
                let valueStart = self.index
                self.skipValue()
                if isMatch { found = valueStart..<self.index }
                self.skipBlanks()
                guard self.byte == UInt8(ascii: ",") else { return found }
                self.index += 1
            }
        }

        private func isString(_ quoted: Range<Int>, _ name: [UInt8]) -> Bool {
            let text = UnsafeRawBufferPointer(rebasing: self.bytes[quoted])
            if !text.contains(UInt8(ascii: "\\")) { return text.dropFirst().dropLast().elementsEqual(name) }
            return JSONValue(ByteBuffer(bytes: text))?.stringValue.map { Array($0.utf8) == name } ?? false
        }

        private mutating func skipString() {
            self.index += 1
            while !self.isAtEnd, self.byte != UInt8(ascii: "\"") {
                self.index += self.byte == UInt8(ascii: "\\") ? 2 : 1
            }
            self.index += 1
        }

        private mutating func skipValue() {
            var depth = 0
            repeat {
                self.skipBlanks()
                switch self.byte {
                case UInt8(ascii: "\""): self.skipString()
                case UInt8(ascii: "{"), UInt8(ascii: "["):
                    depth += 1
                    self.index += 1
                case UInt8(ascii: "}"), UInt8(ascii: "]"):
                    depth -= 1
                    self.index += 1
                case UInt8(ascii: ","), UInt8(ascii: ":"): self.index += 1
                default:
                    while !self.isAtEnd, self.byte > 0x20, !",]}:".utf8.contains(self.byte) { self.index += 1 }
                }
            } while depth > 0 && !self.isAtEnd
        }
    }
}

extension String {
    fileprivate var trimmingBlanks: String {
        String(self.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
    }
}
