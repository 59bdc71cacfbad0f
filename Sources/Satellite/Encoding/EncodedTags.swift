package import NIOCore

/// A tag set in wire form, as it goes into row operations.
package struct EncodedTags: Hashable, Sendable {
    private let texts: [[UInt8]]
    /// Bytes that the set takes in a message, field keys included.
    let size: Int

    package init(_ tags: [Tag]) {
        self.texts = tags.map { Array($0.wireText.utf8) }
        self.size = self.texts.reduce(0) { $0 + 1 + Varint.size(UInt64($1.count)) + $1.count }
    }

    /// The tag of rows that are older than their table's electrification.
    package static let epoch = EncodedTags([.epoch])
    package static let none = EncodedTags([])

    package var isEmpty: Bool { self.texts.isEmpty }

    func write(tag: UInt8, to buffer: inout ByteBuffer) {
        for text in self.texts {
            buffer.writeInteger(tag)
            Varint.write(UInt64(text.count), to: &buffer)
            buffer.writeBytes(text)
        }
    }
}

/// Parses the text of `_tags` columns and remembers the last result, since the rows that one transaction has written
/// mostly carry the same tag.
package struct TagTextCache: Sendable {
    private var lastText: [UInt8] = []
    private var lastTags: EncodedTags = .none

    package init() {}

    /// Nil when the text is not a `tag[]`.
    package mutating func encode(_ text: UnsafeRawBufferPointer) -> EncodedTags? {
        if !self.lastText.isEmpty, self.lastText.count == text.count, self.lastText.elementsEqual(text) {
            return self.lastTags
        }
        guard let tags = Tag.parseArray(text) else { return nil }
        self.lastText = Array(text)
        self.lastTags = EncodedTags(tags)
        return self.lastTags
    }

    package mutating func encode(_ text: ByteBuffer) -> EncodedTags? {
        text.withUnsafeReadableBytes { self.encode($0) }
    }
}
