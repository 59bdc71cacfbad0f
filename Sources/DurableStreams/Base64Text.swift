import NIOCore

extension ByteBuffer {
    /// Writes bytes in standard base64 with padding.
    mutating func writeBase64(_ bytes: UnsafeRawBufferPointer) {
        let length = (bytes.count + 2) / 3 * 4
        self.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { output in
            let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            let letters = alphabet.utf8Start
            var index = 0
            var place = 0
            while index + 3 <= bytes.count {
                let triple = Int(bytes[index]) << 16 | Int(bytes[index + 1]) << 8 | Int(bytes[index + 2])
                output[place] = letters[triple >> 18]
                output[place + 1] = letters[triple >> 12 & 63]
                output[place + 2] = letters[triple >> 6 & 63]
                output[place + 3] = letters[triple & 63]
                index += 3
                place += 4
            }
            let rest = bytes.count - index
            if rest > 0 {
                let triple = Int(bytes[index]) << 16 | (rest == 2 ? Int(bytes[index + 1]) << 8 : 0)
                output[place] = letters[triple >> 18]
                output[place + 1] = letters[triple >> 12 & 63]
                output[place + 2] = rest == 2 ? letters[triple >> 6 & 63] : UInt8(ascii: "=")
                output[place + 3] = UInt8(ascii: "=")
            }
            return length
        }
    }
}
