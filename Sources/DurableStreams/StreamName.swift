import WebAddresses

/// The names of streams: what stands in a path behind the stream root.
package struct StreamNameRules: Hashable, Sendable {
    package var maximumBytes: Int
    package var maximumSegments: Int

    package init(maximumBytes: Int = 1024, maximumSegments: Int = 8) {
        self.maximumBytes = maximumBytes
        self.maximumSegments = maximumSegments
    }

    /// First segment of the paths that belong to the control API.
    package static let reservedSegment = "__ds"

    /// The name in a request path.
    ///
    /// - Parameter path: what follows the stream root, still percent-encoded, with or without one leading slash.
    package func name(path: Substring) throws(StreamError) -> String {
        if let name = self.plainName(path) { return name }
        guard let decoded = PercentCoding.decoded(path) else {
            throw StreamError(.invalidStreamName, "The path is not valid percent-encoded UTF-8.")
        }
        return try self.name(decoded: decoded.hasPrefix("/") ? String(decoded.dropFirst()) : decoded)
    }

    /// The usual name, of ASCII without an escape, checked in one walk; nil leaves it to the whole of the rules.
    private func plainName(_ path: Substring) -> String? {
        let plain = path.utf8.withContiguousStorageIfAvailable { bytes -> Int? in
            let start = bytes.first == UInt8(ascii: "/") ? 1 : 0
            guard bytes.count > start, bytes.count - start <= self.maximumBytes else { return nil }
            var segments = 1
            var isAtSegmentStart = true
            for byte in bytes[start...] {
                switch byte {
                case UInt8(ascii: "/"):
                    if isAtSegmentStart { return nil }
                    isAtSegmentStart = true
                    segments += 1
                case UInt8(ascii: "."), UInt8(ascii: "_"):
                    // Dot segments and the reserved one begin like this.
                    if isAtSegmentStart { return nil }
                case UInt8(ascii: "%"): return nil
                case 0x21..<0x7F: isAtSegmentStart = false
                default: return nil
                }
            }
            return isAtSegmentStart || segments > self.maximumSegments ? nil : start
        }
        guard case .some(.some(let start)) = plain else { return nil }
        return String(path.utf8.dropFirst(start))
    }

    /// Checks a name that is not percent-encoded and has no leading slash.
    package func name(decoded name: String) throws(StreamError) -> String {
        if let fault = self.fault(in: name) { throw StreamError(.invalidStreamName, fault) }
        return name
    }

    private func fault(in name: String) -> String? {
        if name.isEmpty { return "The name is empty." }
        if name.utf8.count > self.maximumBytes { return "The name is longer than \(self.maximumBytes) bytes." }
        if name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) { return "The name holds a control character." }
        var segments = 0
        for segment in name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            segments += 1
            if segment.isEmpty { return "The name has an empty segment." }
            if segment.elementsEqual(".".utf8) || segment.elementsEqual("..".utf8) {
                return "The name has a dot segment."
            }
            if segments == 1, segment.elementsEqual(Self.reservedSegment.utf8) {
                return "Names that begin with \(Self.reservedSegment) are reserved."
            }
        }
        return segments > self.maximumSegments ? "The name has more than \(self.maximumSegments) segments." : nil
    }

    /// The name in a value of `Stream-Forked-From`: an absolute path under the stream root.
    package func name(forkSource value: String, root: String) throws(StreamError) -> String {
        let path = HeaderText.trimmed(value)
        guard path.hasPrefix(root), path.dropFirst(root.count).first == "/", !path.contains("?"), !path.contains("#")
        else {
            throw StreamError(.badRequest, "Stream-Forked-From must be the path of a stream of this server.")
        }
        return try self.name(path: path.dropFirst(root.count + 1))
    }

    /// A name as it stands in a URL.
    package static func encodedPath(_ name: String) -> String {
        HeaderText.percentEncodedPath(name)
    }
}
