import ExactText

/// The flows between streams and tables.
package struct MirrorSettings: Hashable, Sendable {
    /// In the order in which they are named. Names are unique.
    package var flows: [MirrorFlow]

    package init(flows: [MirrorFlow]) {
        self.flows = flows
    }
}

/// One flow between streams and a table.
package struct MirrorFlow: Hashable, Sendable {
    package enum Direction: String, CaseIterable, Hashable, Sendable {
        case streamToTable = "stream-to-table"
        case tableToStream = "table-to-stream"
    }

    /// What a flow reads.
    package enum Source: Hashable, Sendable {
        case name(String)
        case list([String])
        /// Every stream whose name begins so; it ends in a slash.
        case prefix(String)
        /// `*` stands for any letters of one segment, `**` for any letters, `?` for one letter.
        case pattern(String)

        /// Whether a stream is one of the flow's.
        package func matches(_ name: String) -> Bool {
            switch self {
            case .name(let own): own.isExactly(name)
            case .list(let names): names.containsExactly(name)
            case .prefix(let prefix): name.hasExactPrefix(prefix) && name.utf8.count > prefix.utf8.count
            case .pattern(let pattern): Self.matches(Array(pattern.utf8), name)
            }
        }

        /// Follows all ways through the pattern at once, so that no pattern takes long.
        private static func matches(_ pattern: [UInt8], _ text: String) -> Bool {
            let star = UInt8(ascii: "*")
            // Kinds: 0 this byte, 1 any letter but a slash, 2 any number of those, 3 any number of any letters.
            var tokens: [(kind: Int, byte: UInt8)] = []
            var index = 0
            while index < pattern.count {
                if pattern[index] == star {
                    let isDouble = index + 1 < pattern.count && pattern[index + 1] == star
                    tokens.append((isDouble ? 3 : 2, 0))
                    index += isDouble ? 2 : 1
                } else {
                    tokens.append((pattern[index] == UInt8(ascii: "?") ? 1 : 0, pattern[index]))
                    index += 1
                }
            }
            // states[i]: whether the first i tokens match the text so far.
            var states = [Bool](repeating: false, count: tokens.count + 1)
            states[0] = true
            func skipStars(_ states: inout [Bool]) {
                for position in tokens.indices where states[position] && tokens[position].kind >= 2 {
                    states[position + 1] = true
                }
            }
            skipStars(&states)
            for byte in text.utf8 {
                var next = [Bool](repeating: false, count: tokens.count + 1)
                for position in tokens.indices where states[position] {
                    switch tokens[position].kind {
                    case 0: if tokens[position].byte == byte { next[position + 1] = true }
                    case 1: if byte != UInt8(ascii: "/") { next[position + 1] = true }
                    case 2: if byte != UInt8(ascii: "/") { next[position] = true }
                    default: next[position] = true
                    }
                }
                skipStars(&next)
                states = next
            }
            return states[tokens.count]
        }
    }

    /// How a table is written.
    package enum Mode: String, CaseIterable, Hashable, Sendable {
        /// A row for each event.
        case events
        /// A row for each key.
        case upsert
    }

    /// Where a flow without a checkpoint begins.
    package enum Start: String, CaseIterable, Hashable, Sendable {
        case beginning, now
    }

    /// A column and the path in the JSON of an event that its value is at.
    package struct Column: Hashable, Sendable {
        /// Names of members, outermost first.
        package var path: [String]
        package var name: String

        package init(path: [String], name: String) {
            self.path = path
            self.name = name
        }
    }

    package var name: String
    package var direction: Direction
    package var source: Source
    /// The table (`table` or `schema.table`), or the stream.
    package var target: String
    package var mode: Mode
    /// Columns of the key.
    package var key: [String]
    /// Empty: the columns of the built-in event table.
    package var columns: [Column]
    package var batchSize: Int
    package var batchDelay: Duration
    package var workers: Int
    package var deadLetterTable: String?
    package var start: Start

    package init(
        name: String, direction: Direction, source: Source, target: String, mode: Mode = .events, key: [String] = [],
        columns: [Column] = [], batchSize: Int = 500, batchDelay: Duration = .milliseconds(100), workers: Int = 1,
        deadLetterTable: String? = nil, start: Start = .beginning
    ) {
        self.name = name
        self.direction = direction
        self.source = source
        self.target = target
        self.mode = mode
        self.key = key
        self.columns = columns
        self.batchSize = batchSize
        self.batchDelay = batchDelay
        self.workers = workers
        self.deadLetterTable = deadLetterTable
        self.start = start
    }
}
