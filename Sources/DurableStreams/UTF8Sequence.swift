/// The shapes of characters in UTF-8.
enum UTF8Sequence {
    /// Length of the well-formed character of two to four bytes that begins at `cursor`; 0 when there is none.
    @inline(__always)
    static func length(at cursor: UnsafePointer<UInt8>, end: UnsafePointer<UInt8>) -> Int {
        let lead = cursor.pointee
        let room = end - cursor
        if lead < 0xE0 {
            guard lead >= 0xC2, room >= 2, cursor[1] & 0xC0 == 0x80 else { return 0 }
            return 2
        }
        if lead < 0xF0 {
            guard room >= 3, cursor[1] & 0xC0 == 0x80, cursor[2] & 0xC0 == 0x80 else { return 0 }
            // No overlong forms, no surrogates.
            if lead == 0xE0, cursor[1] < 0xA0 { return 0 }
            if lead == 0xED, cursor[1] >= 0xA0 { return 0 }
            return 3
        }
        guard lead <= 0xF4, room >= 4, cursor[1] & 0xC0 == 0x80, cursor[2] & 0xC0 == 0x80, cursor[3] & 0xC0 == 0x80
        else { return 0 }
        if lead == 0xF0, cursor[1] < 0x90 { return 0 }
        if lead == 0xF4, cursor[1] >= 0x90 { return 0 }
        return 4
    }

    /// How many bytes at the end of `bytes` are the beginning of a character whose rest is missing: 0 to 3.
    static func incompleteTail(_ bytes: UnsafeRawBufferPointer) -> Int {
        let count = bytes.count
        var back = 1
        while back <= 3, back <= count {
            let byte = bytes[count - back]
            if byte & 0xC0 == 0x80 {
                back += 1
                continue
            }
            let needed: Int
            switch byte {
            case 0xC2...0xDF: needed = 2
            case 0xE0...0xEF: needed = 3
            case 0xF0...0xF4: needed = 4
            default: return 0
            }
            guard needed > back else { return 0 }
            // What is there must be able to become a character.
            if back >= 2 {
                let second = bytes[count - back + 1]
                switch byte {
                case 0xE0 where second < 0xA0, 0xED where second >= 0xA0, 0xF0 where second < 0x90,
                    0xF4 where second >= 0x90:
                    return 0
                default:
                    break
                }
            }
            return back
        }
        return 0
    }
}

extension UTF8Sequence {
    /// Whether all of `bytes` is well-formed.
    static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return true }
        let end = base + bytes.count
        var cursor = base
        while cursor < end {
            while end - cursor >= 8,
                UnsafeRawPointer(cursor).loadUnaligned(as: UInt64.self) & 0x8080_8080_8080_8080 == 0
            {
                cursor += 8
            }
            guard cursor < end else { return true }
            if cursor.pointee < 0x80 {
                cursor += 1
                continue
            }
            let length = Self.length(at: cursor, end: end)
            guard length > 0 else { return false }
            cursor += length
        }
        return true
    }
}
