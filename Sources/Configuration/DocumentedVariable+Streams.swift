extension DocumentedVariable {
    /// The variables of the stream server and the mirror.
    static let streams: [DocumentedVariable] =
        StreamKey.allCases.map { key in
            let text = Self.text(of: key)
            let older = (key.olderPaths.map(StreamKey.environmentName) + key.oldestNames).joined(separator: ", ")
            return DocumentedVariable(
                name: key.environmentName, defaultValue: text.defaultValue, isSecret: key.isSecret,
                summary: older.isEmpty ? text.summary : "\(text.summary) Older names: \(older).")
        } + Self.besideTheKeys

    private static let besideTheKeys: [DocumentedVariable] = [
        DocumentedVariable(
            name: "PENSTOCK_PROFILE", defaultValue: "default",
            summary: """
                Profile of the stream server: default, dev, prod, prod-tls, prod-mtls, or another name for \
                config/NAME.toml. The option --profile comes before it.
                """),
        DocumentedVariable(
            name: "PENSTOCK_CONFIG", defaultValue: nil,
            summary: "TOML file that is read after the files in config/. The option --config comes before it."),
        DocumentedVariable(
            name: "RUST_LOG", defaultValue: nil,
            summary: "Filter of the log of the stream server; comes before DS_OBSERVABILITY__RUST_LOG."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_FLOWS", defaultValue: nil,
            summary: """
                Built-in flows between streams and tables: items (table items to stream pg-items), session-events \
                (stream session-events to table session_events).
                """),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_DIRECTION", defaultValue: "stream-to-table",
            summary: "Direction of a flow of one's own: stream-to-table or table-to-stream."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_SOURCE", defaultValue: nil,
            summary: """
                What a flow of one's own reads: a name, a list, a prefix that ends in a slash, or a pattern with * \
                and ?. Tables have names only.
                """),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_TARGET", defaultValue: nil,
            summary: "The table, or the stream, that it writes."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_MODE", defaultValue: "events",
            summary: "How a table is written: events (one row for each) or upsert (one row for each key)."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_KEY", defaultValue: nil,
            summary: "Columns of the key, a list. Required by upsert."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_COLUMNS", defaultValue: nil,
            summary: """
                Paths into the JSON of an event and the columns they go to, a list: value.title=title. Required by \
                upsert.
                """),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_BATCH_SIZE", defaultValue: "500",
            summary: "Events of one transaction at most. For every flow that does not say otherwise, as the following."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_BATCH_MS", defaultValue: "100",
            summary: "Milliseconds after which a batch is written though it is not full."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_WORKERS", defaultValue: "1",
            summary: "Streams that are worked on at the same time."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_DEAD_LETTER_TABLE", defaultValue: nil,
            summary: "Table for events that cannot be written. Without it they go to penstock.mirror_dead_letters."),
        DocumentedVariable(
            name: "PENSTOCK_MIRROR_START", defaultValue: "beginning",
            summary: "Where a flow without a checkpoint begins: beginning or now."),
    ]

    private static func text(of key: StreamKey) -> (defaultValue: String?, summary: String) {
        switch key {
        case .serverBindAddress:
            (
                "0.0.0.0:4437",
                """
                Address and port of the stream server: an IP address and a port, [::]:4437 for IPv6. With \
                other fronts on it is an extra listener, opened only where this or the port is set.
                """
            )
        case .serverPort:
            (
                "4437",
                """
                Older form of the bind address: the port alone, on 0.0.0.0. Used where no bind address is set \
                in the same place or a later one.
                """
            )
        case .limitsMaxMemoryBytes:
            (
                "104857600",
                "Payload bytes of all streams together in memory mode. Beyond it appends answer 413."
            )
        case .limitsMaxStreamBytes:
            (
                "10485760",
                "Payload bytes of one stream in memory mode. Beyond it appends answer 413."
            )
        case .limitsMaxDiskBytes:
            (
                "0",
                "Payload bytes of all streams together in the modes with a disk. 0 is no limit."
            )
        case .limitsMaxDiskStreamBytes:
            (
                "0",
                "Payload bytes of one stream in the modes with a disk. 0 is no limit."
            )
        case .limitsMaxRequestBodyBytes:
            (
                "10485760",
                "Bytes of the body of one request as they come over the wire. Beyond it the answer is 413."
            )
        case .limitsMaxBufferedBodyBytes:
            (
                "536870912",
                """
                Bytes of all bodies that are being received, over all listeners of the process. Beyond it \
                requests answer 503 with Retry-After.
                """
            )
        case .limitsMaxStreamNameBytes:
            (
                "1024",
                "Bytes of the name of a stream."
            )
        case .limitsMaxStreamNameSegments:
            (
                "8",
                "Segments, between slashes, of the name of a stream."
            )
        case .limitsMaxProducersPerStream:
            (
                "10000",
                "Producers remembered for one stream. At the limit those idle for seven days are forgotten; if there is "
                    + "none, new ones are answered 429."
            )
        case .limitsMaxStorageJobs:
            (
                "64",
                "Storage work waiting and under way. Beyond it requests answer 503 with Retry-After."
            )
        case .retentionMaxBytes:
            (
                "0",
                "Bytes that a new stream keeps at least, where its creator does not say; what is before goes. 0 keeps all."
            )
        case .retentionMaxAgeSecs:
            (
                "0",
                "Seconds that a new stream keeps appends, where its creator does not say; what is older goes. 0 keeps all."
            )
        case .retentionPrefixes:
            (
                nil,
                "Beginnings of the names that these two are for, a list: logs/,metrics/. Without it all new streams."
            )
        case .httpCORSOrigins:
            (
                "*",
                """
                Origins that browsers may call from: * for any, or a list such as \
                https://a.example,https://b.example.
                """
            )
        case .httpAllowWildcardCORS:
            (
                "false",
                "Whether the prod profiles take * for the origins."
            )
        case .httpStreamBasePath:
            (
                "/v1/stream",
                "Path below which the streams are: absolute and literal."
            )
        case .httpAllowInsecureWebhooks:
            (
                "false",
                "Whether webhooks may be plain HTTP to this machine. For development."
            )
        case .httpWebhookKeyDays:
            (
                "90",
                """
                Days after which the key that signs webhooks is replaced. The new one is published five minutes \
                before its first use, the old one five minutes after its last. 0 is never.
                """
            )
        case .httpOutgoingCAPath:
            (
                nil,
                """
                Authorities in PEM that the service trusts besides the system's when it calls others: webhooks and \
                the URL of the key set.
                """
            )
        case .httpCache:
            (
                "public",
                "Who may keep answers of reads: public, private (browsers only) or no-store (nobody)."
            )
        case .adminEnabled:
            (
                "false",
                "Whether the listing of streams is served. It has no access control of its own."
            )
        case .adminBasePath:
            (
                "/admin",
                "Path of the listing. It must not overlap the path of the streams."
            )
        case .storageMode:
            (
                "memory",
                """
                Where streams live: memory, file-fast (written to the system), file-durable (on the disk \
                before the answer) or acid (several shards). Also taken: fast; file and durable for file- \
                durable; redb for acid.
                """
            )
        case .storageDataDir:
            (
                "./data/streams",
                "Directory of the streams in the modes with a disk."
            )
        case .storageAcidShardCount:
            (
                "16",
                "Shards of the acid mode: a power of two from 1 to 256. Fixed once the directory exists."
            )
        case .storageAcidBackend:
            (
                "file",
                "Whether the acid mode writes to the disk: file, or in-memory (also memory)."
            )
        case .transportMode:
            (
                "http",
                """
                http, tls, or mtls for TLS with certificates of clients. Where it is not set, the older names \
                of the TLS paths switch to tls.
                """
            )
        case .transportHTTPVersions:
            (
                "http1",
                "A list of http1 and http2. http2 needs TLS."
            )
        case .transportConnectionLongPollTimeoutSecs:
            (
                "30",
                "Seconds after which a long poll without news is answered."
            )
        case .transportConnectionSSEReconnectIntervalSecs:
            (
                "60",
                "Seconds after which an event stream is ended, so that the client comes back. 0 is never."
            )
        case .transportConnectionSSEKeepAliveSecs:
            (
                "15",
                "Seconds between comments on a quiet event stream, against proxies that cut it. 0 is none."
            )
        case .transportConnectionSSERetryMillis:
            (
                "300",
                """
                Milliseconds after which the EventSource of a browser comes back when its stream has ended: each is told \
                a time of its own between this and three times as much. 0 leaves it to the browser, mostly 3 seconds.
                """
            )
        default: Self.furtherText(of: key)
        }
    }
}
