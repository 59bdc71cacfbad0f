import Identity
import WebAddresses

/// The durable streams server.
package struct StreamServerSettings: Sendable {
    /// The profile it was configured with.
    package var profile: String
    /// The address of its own; nil when it answers on the listener of the other fronts.
    package var bindAddress: ListenAddress?
    package var limits: Limits
    package var retention: Retention
    package var http: HTTP
    package var admin: Admin
    package var storage: Storage
    package var transport: Transport
    package var proxy: Proxy
    package var logFilter: LogFilter
    package var logFormat = LogSettings.Format.text
    /// Whether each request gets a line of the log.
    package var logsRequests = false
    /// How tokens are verified and what they allow; nil when everybody may do everything.
    package var auth: StreamAuthSettings?
    /// What is allowed but deserves a warning at start-up, one sentence each.
    package var warnings: [String]

    /// How much is held. Memory and disk are bounded apart; nil is no bound.
    package struct Limits: Hashable, Sendable {
        package var maximumMemory = ByteCount(bytes: 104_857_600)
        package var maximumMemoryStream = ByteCount(bytes: 10_485_760)
        package var maximumDisk: ByteCount?
        package var maximumDiskStream: ByteCount?
        package var maximumRequestBody = ByteCount(bytes: 10_485_760)
        /// Of all requests together, on all listeners.
        package var maximumBufferedBodies = ByteCount(bytes: 536_870_912)
        package var maximumNameBytes = 1024
        package var maximumNameSegments = 8
        /// Producers that are remembered for one stream.
        package var maximumProducers = 10_000
        package var maximumStorageJobs = 64

        package init() {}

        /// The bounds that hold in a storage mode, for all streams together and for one.
        package func payload(in mode: Storage.Mode) -> (total: ByteCount?, stream: ByteCount?) {
            mode.usesDisk
                ? (self.maximumDisk, self.maximumDiskStream) : (self.maximumMemory, self.maximumMemoryStream)
        }
    }

    package struct HTTP: Hashable, Sendable {
        /// Who may call from a browser.
        package enum Origins: Hashable, Sendable {
            case any
            case listed([String])
        }

        /// Who may keep answers of reads.
        package enum Cache: String, CaseIterable, Hashable, Sendable {
            case `public`, `private`
            case noStore = "no-store"
        }

        package var origins = Origins.any
        /// Without a slash at its end.
        package var basePath = "/v1/stream"
        package var allowsInsecureWebhooks = false
        /// Age at which the key of webhooks is replaced; nil for never.
        package var webhookKeyAge: Duration? = .seconds(90 * 86_400)
        /// Authorities that calls of the service trust besides the system's.
        package var outgoingAuthorityPath: String?
        package var cache = Cache.public
        /// How long answers of reads may be kept.
        package var cacheMaximumAge = Duration.seconds(60)
        /// How long a cache may go on giving out an answer while it asks for a new one.
        package var cacheStaleWhileRevalidate = Duration.seconds(300)
        /// How long ranges may be kept that cannot change any more; nil is as long as others.
        package var cacheSealedMaximumAge: Duration?
        /// Bytes from which on answers of reads are packed; nil is never.
        package var compressionMinimum: Int?

        package init() {}
    }

    /// How much is kept of streams whose creator does not say. Nothing is dropped where neither bound is set.
    package struct Retention: Hashable, Sendable {
        package var maximumBytes: UInt64?
        package var maximumAgeSeconds: UInt64?
        /// Beginnings of the names it is for; empty for all.
        package var prefixes: [String] = []

        package static let maximumNumber: UInt64 = 9_007_199_254_740

        package var isOn: Bool { self.maximumBytes != nil || self.maximumAgeSeconds != nil }

        package init() {}
    }

    package struct Admin: Hashable, Sendable {
        package var isEnabled = false
        package var basePath = "/admin"

        package init() {}
    }

    package struct Storage: Hashable, Sendable {
        package enum Backend: String, CaseIterable, Hashable, Sendable {
            case file
            case memory = "in-memory"
        }

        package enum Mode: Hashable, Sendable {
            case memory
            /// Acknowledged when the system has it.
            case fileFast
            /// Acknowledged when the disk has it.
            case fileDurable
            /// Several shards, each transaction on the disk as a whole.
            case acid(Backend, shards: Int)

            /// Whether anything is left of it after the process.
            package var usesDisk: Bool {
                switch self {
                case .memory, .acid(.memory, _): false
                case .fileFast, .fileDurable, .acid(.file, _): true
                }
            }

            /// The name of the mode as it is documented.
            package var name: String {
                switch self {
                case .memory: "memory"
                case .fileFast: "file-fast"
                case .fileDurable: "file-durable"
                case .acid: "acid"
                }
            }
        }

        package var mode = Mode.memory
        package var dataDirectory = "./data/streams"

        package init() {}
    }

    package struct Transport: Hashable, Sendable {
        package enum Mode: String, CaseIterable, Hashable, Sendable {
            case http, tls, mtls
        }

        package enum Version: String, CaseIterable, Hashable, Sendable {
            case http1, http2

            /// The name of the protocol in the TLS handshake.
            package var alpn: String { self == .http1 ? "http/1.1" : "h2" }
        }

        package enum TLSVersion: String, CaseIterable, Hashable, Sendable, Comparable {
            case v12 = "1.2"
            case v13 = "1.3"

            package static func < (left: TLSVersion, right: TLSVersion) -> Bool { left.rawValue < right.rawValue }
        }

        /// The files and versions of TLS.
        package struct TLS: Hashable, Sendable {
            package var certificatePath: String
            package var keyPath: String
            /// Authorities of clients; set in `mtls` alone.
            package var clientAuthorityPath: String?
            package var minimumVersion = TLSVersion.v13
            package var maximumVersion = TLSVersion.v13
            /// In order of preference.
            package var protocols: [String]

            package init(
                certificatePath: String, keyPath: String, clientAuthorityPath: String? = nil, protocols: [String]
            ) {
                self.certificatePath = certificatePath
                self.keyPath = keyPath
                self.clientAuthorityPath = clientAuthorityPath
                self.protocols = protocols
            }
        }

        package var mode = Mode.http
        package var versions: [Version] = [.http1]
        /// Set unless the mode is `http`.
        package var tls: TLS?
        package var longPollTimeout = Duration.seconds(30)
        /// When an event stream is ended; nil is never.
        package var sseReconnectInterval: Duration? = .seconds(60)
        /// Between comments on a quiet event stream; nil is none.
        package var sseKeepAlive: Duration? = .seconds(15)
        /// How soon event sources of browsers come back at the earliest; nil leaves it to them.
        package var sseRetry: Duration? = .milliseconds(300)

        package init() {}
    }

    package struct Proxy: Hashable, Sendable {
        /// The headers that a proxy sets.
        package enum Family: String, CaseIterable, Hashable, Sendable {
            case none
            case xForwarded = "x-forwarded"
            case forwarded
        }

        /// A header in which a proxy says who the user is.
        package struct Identity: Hashable, Sendable {
            package var header: String
            package var requiresTLS: Bool
        }

        package var isEnabled = false
        package var family = Family.none
        package var trusted: [IPNetwork] = []
        package var identity: Identity?

        package init() {}
    }
}

/// How the stream server verifies tokens, and what they allow.
package struct StreamAuthSettings: Sendable {
    /// Where keys come from.
    package enum KeySource: Hashable, Sendable {
        /// They are in ``StreamAuthSettings/issuer`` already.
        case configured
        case file(String)
        case url(String, allowsInsecureLoopback: Bool)
    }

    /// Issuer, audiences, algorithms, and the keys of the configuration if there are any.
    package var issuer: TrustedIssuer
    package var keySource: KeySource
    package var clockSkewSeconds: Int
    package var access: AccessPolicy
    package var extractor: TokenExtractor

    /// The policy for a token verifier.
    package var tokenPolicy: TokenPolicy {
        TokenPolicy(
            mode: .trusted([self.issuer]), clockDriftSeconds: Double(self.clockSkewSeconds), requiresUserID: false)
    }
}
