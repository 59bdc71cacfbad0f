import Configuration
import DurableStreams
import HTTPServer
import Logging
import Observability
import WebAddresses

/// One line of the log for each request, under the names of OpenTelemetry. Queries are left out: they may hold tokens.
struct RequestLog: Sendable {
    static let label = "penstock.requests"

    let events: EventLog
    /// The path below which streams are; nil when there are none.
    let root: String?
    /// The mode of their storage.
    let storage: String?
    /// Lowest level of interest.
    let level: Logger.Level

    func note(_ record: HTTPExchangeRecord) {
        let isFailure = record.status.map { $0 >= 500 } ?? false
        let level: Logger.Level = isFailure ? .error : .info
        guard level >= self.level else { return }
        var fields: [(key: String, value: EventLog.Value)] = [
            ("http.request.method", .text(record.method)), ("url.path", .text(record.path)),
            ("url.scheme", .text(record.isSecure ? "https" : "http")),
            ("network.protocol.version", .text(record.version)),
            ("http.request.body.size", .number(Int64(record.requestBytes))),
            ("http.response.body.size", .number(Int64(record.responseBytes))),
            ("event.duration", .number(record.nanoseconds)),
        ]
        if let status = record.status { fields.append(("http.response.status_code", .number(Int64(status)))) }
        if let address = record.clientAddress { fields.append(("client.address", .text(address))) }
        if let agent = record.userAgent { fields.append(("user_agent.original", .text(agent))) }
        for (name, value) in record.identity {
            // Claims of a verified token, never what a client sent.
            fields.append(("http.request.header." + name.lowercased(), .text(value)))
        }
        self.describe(record, &fields)
        if let code = record.errorCode { fields.append(("ds.error_code", .text(code))) }
        if let status = record.status, status >= 400 {
            fields.append(("ds.error_class", .text(isFailure ? "server" : "client")))
            fields.append(("error.type", .text(record.errorCode ?? String(status))))
        }
        // The end of an event stream at its client's wish is none of a failure, but worth knowing.
        if !record.isWhole { fields.append(("penstock.response.is_whole", .text("false"))) }
        self.events.note(level, "request", fields)
    }

    /// What the request was about.
    private func describe(_ record: HTTPExchangeRecord, _ fields: inout [(key: String, value: EventLog.Value)]) {
        switch record.path {
        case "/healthz": fields.append(("ds.operation", .text("health")))
        case "/readyz": fields.append(("ds.operation", .text("readiness")))
        default:
            guard let root, record.path.hasPrefix(root + "/") else { return }
            let name = record.path.dropFirst(root.utf8.count + 1)
            let reserved = StreamNameRules.reservedSegment
            if name == reserved || name.hasPrefix(reserved + "/") {
                fields.append(("ds.operation", .text("control")))
                return
            }
            let live = record.method == "GET" ? try? ReadQuery(query: record.query).live : nil
            if let operation = Self.operation(record.method, live) { fields.append(("ds.operation", .text(operation))) }
            fields.append(("ds.stream_id", .text(PercentCoding.decoded(name) ?? String(name))))
            if let live { fields.append(("ds.live_mode", .text(live.rawValue))) }
            if let storage { fields.append(("ds.storage.backend", .text(storage))) }
        }
    }

    private static func operation(_ method: String, _ live: LiveMode?) -> String? {
        switch method {
        case "PUT": "create"
        case "POST": "append"
        case "HEAD": "head"
        case "DELETE": "delete"
        case "GET":
            switch live {
            case nil: "read"
            case .longPoll: "poll"
            case .eventStream: "subscribe"
            }
        default: nil
        }
    }
}

extension RequestLog {
    /// Nil unless the settings ask for it.
    init?(_ settings: LogSettings, _ streams: StreamServerSettings?) {
        guard settings.logsRequests else { return nil }
        self.init(
            events: EventLog(format: LogFormat(settings.format)), root: streams?.http.basePath,
            storage: streams?.storage.mode.name,
            level: Logger.Level(configurationName: settings.level(of: Self.label).rawValue) ?? .info)
    }
}

extension LogFormat {
    package init(_ format: LogSettings.Format) {
        switch format {
        case .text: self = .text
        case .json: self = .json
        }
    }
}
