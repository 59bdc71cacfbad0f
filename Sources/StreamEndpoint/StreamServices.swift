import DurableStreams
import HTTPServer
import Logging
import NIOCore
import NIOHTTP1
import StreamDirectory
import Synchronization

/// What the endpoint of durable streams is made of.
package struct StreamServices: Sendable {
    /// What a request may do, and for how long its answer may go on.
    package enum Permission: Sendable {
        /// - Parameters:
        ///   - until: End of the token's life in milliseconds since 1970; live reads end then.
        ///   - identity: Header fields that say who asks.
        case granted(until: UInt64?, identity: HTTPHeaders = [:])
        case refused(StreamResponse)
    }

    /// What a request wants to do.
    package enum Operation: String, Hashable, Sendable {
        case read, append, create, delete, subscribe
    }

    /// Decides on a request; `decided` is called once, on any thread.
    package typealias Authorizer =
        @Sendable (
            _ request: HTTPRequest, _ operation: Operation, _ name: String,
            _ decided: @escaping @Sendable (Permission) -> Void
        ) -> Void

    package let directory: StreamDirectory
    /// The path under which streams live, without a slash at its end.
    package var root = "/v1/stream"
    package var names = StreamNameRules()
    package var cache = CachePolicy()
    /// Nil packs nothing.
    package var compression: CompressionPolicy?
    package var cursor = StreamCursor()
    package var live = LiveReader.Settings()
    /// Bytes of a catch-up response, unless a single append is longer.
    package var catchUpBytes = 64 << 20
    /// Bytes of stored data that become one event of an event stream, unless a single append is longer.
    package var eventBytes = 256 << 10
    /// When event sources come back; nil leaves it to them.
    package var returnHint: ReturnHint? = ReturnHint(least: 300)
    /// Bytes of a body that a request may bring.
    package var requestBytes = 10 << 20
    /// Of streams whose creator asks for none.
    package var retention: DefaultRetention?
    package var cors: CORSPolicy?
    /// Nil when everybody may do everything.
    package var authorizer: Authorizer?
    /// Names of the header fields that the authorizer alone may set: what a request brings of them is dropped.
    package var identityFields: [String] = []
    /// What answers under the reserved path; nil when there are no subscriptions.
    package var control: (any StreamControl)?
    /// Milliseconds since 1970.
    package let clock: @Sendable () -> UInt64
    package let logger: Logger
    package let loops = LoopTargets()
    package let counters = StreamCounters()

    package init(directory: StreamDirectory, clock: @escaping @Sendable () -> UInt64, logger: Logger) {
        self.directory = directory
        self.clock = clock
        self.logger = logger
    }

    /// Long-polls and event streams that are under way.
    package var liveReaders: Int { self.loops.readers.load(ordering: .relaxed) }

    /// How often stored data was made into events; readers that stand at one place share the work.
    package var encodedBatches: Int { self.loops.batches.load(ordering: .relaxed) }

    /// Whether the directory answers before its calls return.
    var answersAtOnce: Bool {
        switch self.directory.configuration.mode {
        case .memory, .acidInMemory: true
        case .fileFast, .fileDurable, .acid: false
        }
    }

    /// The origin policy of the protocol. Credentials are for services that take a token from a cookie.
    package static func cors(_ origins: CORSPolicy.Origins, allowsCredentials: Bool = false) -> CORSPolicy {
        CORSPolicy(
            origins: origins, methods: StreamHeaderName.methods, requestHeaders: StreamHeaderName.allowedInRequests,
            exposedHeaders: StreamHeaderName.exposedInResponses, allowsCredentials: allowsCredentials)
    }
}

/// The retention of streams whose creator asks for none.
package struct DefaultRetention: Sendable {
    package var retention: StreamRetention
    /// Beginnings of the names it is for; empty for all.
    package var prefixes: [String]

    package init(_ retention: StreamRetention, prefixes: [String] = []) {
        self.retention = retention
        self.prefixes = prefixes
    }

    func retention(of name: String) -> StreamRetention? {
        self.prefixes.isEmpty || self.prefixes.contains { name.hasPrefix($0) } ? self.retention : nil
    }
}

/// The control interface under `__ds`.
package protocol StreamControl: Sendable {
    /// Answers a request whose path behind the reserved segment is `path`, without a leading slash.
    func handle(_ path: Substring, _ request: HTTPRequest, _ responder: HTTPResponder)
    /// Whether a request to this path needs no permission of the service, because it is public or brings a token of its
    /// own.
    func isOpen(_ path: Substring) -> Bool
    /// Told before the writer is answered: a stream was made, possibly where another was before.
    func streamCreated(_ name: String)
    /// Told before the writer is answered: a stream has grown.
    func streamAppended(_ name: String, previousTail: UInt64, tail: UInt64)
    /// Told before the writer is answered: a stream was deleted.
    func streamDeleted(_ name: String)
}
