import WebAddresses

/// How a read goes on when it has reached the tail.
package enum LiveMode: String, Hashable, Sendable {
    case longPoll = "long-poll"
    case eventStream = "sse"
}

/// The query parameters of a read.
package struct ReadQuery: Hashable, Sendable {
    package var start: ReadStart
    /// nil for a catch-up read.
    package var live: LiveMode?
    /// The cursor that the client got last.
    package var cursor: UInt64?

    package init(start: ReadStart = .start, live: LiveMode? = nil, cursor: UInt64? = nil) {
        self.start = start
        self.live = live
        self.cursor = cursor
    }

    /// Parses a query: unknown parameters are passed over, known ones must be well formed and come once.
    ///
    /// - Parameters:
    ///   - query: what follows the question mark, without it; nil or empty for none.
    ///   - lastEventID: extension: where a browser's event source goes on; counts more than `offset`, which such a client
    ///     repeats unchanged.
    package init(query: (some StringProtocol)?, lastEventID: String? = nil) throws(StreamError) {
        var offset: String?
        var live: String?
        var cursor: String?
        for pair in query?.split(separator: "&") ?? [] {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = PercentCoding.decoded(parts[0], plusIsSpace: true) else { continue }
            guard name == "offset" || name == "live" || name == "cursor" else { continue }
            guard let value = PercentCoding.decoded(parts.count > 1 ? parts[1] : "", plusIsSpace: true) else {
                throw StreamError(
                    name == "offset" ? .invalidOffset : .badRequest, "The parameter \(name) is not percent-encoded.")
            }
            switch name {
            case "offset":
                guard offset == nil else { throw StreamError(.invalidOffset, "offset may be given only once.") }
                offset = value
            case "live":
                guard live == nil else { throw StreamError(.badRequest, "live may be given only once.") }
                live = value
            default:
                cursor = value
            }
        }

        if let live {
            guard let mode = LiveMode(rawValue: live) else {
                throw StreamError(.badRequest, "live must be long-poll or sse.")
            }
            self.live = mode
        } else {
            self.live = nil
        }
        if let offset {
            guard let start = ReadStart(parameter: offset) else {
                throw StreamError(.invalidOffset, "offset is not one that this server has given.")
            }
            self.start = start
        } else {
            guard self.live == nil else { throw StreamError(.badRequest, "A live read needs an offset.") }
            self.start = .start
        }
        // A cursor of another server's making is no fault of the client: it is as if there were none.
        self.cursor = cursor.flatMap { HeaderText.decimal($0, maximum: StreamCursor.maximum) }
        if self.live == .eventStream, let lastEventID,
            let offset = StreamOffset(token: HeaderText.trimmed(lastEventID))
        {
            self.start = .at(offset)
        }
    }
}
