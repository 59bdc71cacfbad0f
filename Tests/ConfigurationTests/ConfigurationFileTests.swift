import Foundation
import Testing

@testable import Configuration

@Suite("Files of the stream server")
struct ConfigurationFileTests {
    typealias Streams = StreamEnvironments

    @Test func laterPlacesWin() throws {
        // Each place sets everything from its own number on.
        let keys = [
            "max_memory_bytes", "max_stream_bytes", "max_request_body_bytes", "max_stream_name_bytes",
            "max_storage_jobs",
        ]
        func document(_ place: Int) -> String {
            "[limits]\n" + keys[place...].map { "\($0) = \(place + 1)\n" }.joined()
        }
        let files = [
            "config/default.toml": document(0), "config/blue.toml": document(1), "config/local.toml": document(2),
            "/etc/more.toml": document(3), "config/red.toml": "this is not even read",
        ]
        let limits = try Streams.load(
            ["DS_LIMITS__MAX_STORAGE_JOBS": "5"], files: files, profile: "blue", file: "/etc/more.toml"
        ).limits
        #expect(limits.maximumMemory.bytes == 1)
        #expect(limits.maximumMemoryStream.bytes == 2)
        #expect(limits.maximumRequestBody.bytes == 3)
        #expect(limits.maximumNameBytes == 4)
        #expect(limits.maximumStorageJobs == 5)
        // A file comes before what a profile brings along.
        let prod = try Streams.load(
            files: [
                "config/default.toml": "[storage]\nmode = \"memory\"\n[http]\ncors_origins = [\"https://a.example\"]"
            ],
            profile: "prod")
        #expect(prod.storage.mode == .memory)
        #expect(prod.limits.maximumMemory.bytes == 512 << 20)
    }

    @Test func filesHaveListsNumbersAndBooleans() throws {
        let text = """
            [http]
            cors_origins = ["https://a.example", "https://b.example"]
            allow_insecure_webhooks = true
            [transport]
            mode = "tls"
            http.versions = ["http1", "http2"]
            [transport.tls]
            cert_path = "/c"
            key_path = "/k"
            [transport.connection]
            long_poll_timeout_secs = 5
            [proxy]
            enabled = false
            forwarded_headers = "none"
            trusted_proxies = []
            """
        let streams = try Streams.load(files: ["config/default.toml": text])
        #expect(streams.http.origins == .listed(["https://a.example", "https://b.example"]))
        #expect(streams.http.allowsInsecureWebhooks)
        #expect(streams.transport.versions == [.http1, .http2])
        #expect(streams.transport.longPollTimeout == .seconds(5))
    }

    @Test func unknownKeysAreRefusedWithTheNearestOne() {
        let text = "[limits]\nmax_memory_byte = 1\n[storrage]\nmode = \"memory\"\n[stroage]\n"
        #expect(
            Streams.problems(files: ["config/default.toml": text]) == [
                "limits.max_memory_byte (config/default.toml) is unknown. Did you mean limits.max_memory_bytes?",
                "storrage.mode (config/default.toml) is unknown. Did you mean storage.mode?",
                "stroage (config/default.toml) is unknown. Did you mean storage?",
            ])
    }

    @Test func unknownKeysWithoutANearOneAreRefusedWithThoseOfTheirSection() {
        let text = "nope = 1\n[retention]\nforever = true\n[proxy.identity]\nx = 1\n[elsewhere]\n"
        #expect(
            Streams.problems(files: ["config/default.toml": text]) == [
                "elsewhere (config/default.toml) is unknown. Known are admin, auth, http, limits, observability, proxy, "
                    + "retention, server, storage, transport",
                "nope (config/default.toml) is unknown. Known are admin.…, auth.…, http.…, limits.…, observability.…, "
                    + "proxy.…, retention.…, server.…, storage.…, transport.…",
                "proxy.identity.x (config/default.toml) is unknown. Known are proxy.identity.header_name, "
                    + "proxy.identity.mode, proxy.identity.require_tls",
                "retention.forever (config/default.toml) is unknown. Known are retention.max_age_secs, "
                    + "retention.max_bytes, retention.prefixes",
            ])
    }

    @Test(arguments: [
        (
            "[storage]\nmode = 1.5",
            "storage.mode (config/default.toml) has to be a text, a whole number, a boolean or a list, not a number with a fraction"
        ),
        (
            "[storage]\nmode = 2024-01-01",
            "storage.mode (config/default.toml) has to be a text, a whole number, a boolean or a list, not a date or time"
        ),
        ("[storage.mode]\nx = 1", "storage.mode (config/default.toml) has to be a value, not a section"),
        ("[http]\ncors_origins = [[\"a\"]]", "http.cors_origins (config/default.toml) has to be a list of texts"),
        ("mirror = 1", "mirror (config/default.toml) has to be a list of tables: [[mirror]]"),
    ])
    func valuesOfTheWrongKindAreRefused(text: String, problem: String) {
        #expect(Streams.problems(files: ["config/default.toml": text]).contains(problem))
    }

    @Test func aMistakeInAFileIsNamedWithFileAndLine() {
        for (text, line) in [
            ("[storage]\nmode = memory\n", 2), ("[storage\nmode = 1", 1), ("\n\na = 1\na = 2\n", 4), ("x", 1),
            ("a = \"hunter2\n", 1), ("[limits]\n\nmax_memory_bytes = 1\u{0}", 3),
        ] {
            let problems = Streams.problems(files: ["config/local.toml": text])
            #expect(problems.count == 1, "\(problems)")
            #expect(problems.first?.hasPrefix("config/local.toml line \(line), column ") == true, "\(problems)")
            #expect(problems.first?.contains("hunter2") == false, "\(problems)")
        }
    }

    @Test func filesThatHaveToExistAreMissed() {
        #expect(Streams.problems(file: "/etc/x.toml") == ["--config names /etc/x.toml, which does not exist"])
        #expect(Streams.problems(profile: "blue") == ["--profile names config/blue.toml, which does not exist"])
        #expect(
            Streams.problems(["PENSTOCK_PROFILE": "../x"]) == [
                #"PENSTOCK_PROFILE has invalid value: "../x". Must be a name of letters, digits, - and _"#
            ])
        for profile in ["default", "dev"] { #expect(Streams.problems(profile: profile) == []) }
    }

    @Test func realFilesAreRead() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("penstock-config-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appendingPathComponent("local.toml")
        try Data("[storage]\nmode = \"file-fast\"\n".utf8).write(to: file)
        let sources = ConfigurationSources(environment: [:], directory: directory.path)
        #expect(try Settings.load(sources: sources).streams?.storage.mode == .fileFast)
        // Variables alone read no file at all.
        #expect(try Settings.load(environment: [:]).streams?.storage.mode == .memory)
        try Data([0xff, 0xfe]).write(to: file)
        let report = #expect(throws: ConfigurationReport.self) { try Settings.load(sources: sources) }
        #expect(report?.problems.first?.text.hasPrefix("cannot be read") == true)
        #expect(ConfigurationSources.readFile(directory.path) == .unreadable)
    }

    @Test func everythingThatIsWrongIsInOneReport() throws {
        let sources = Streams.sources(
            [
                "DS_AUTH__MODE": "jwt", "DS_AUTH__STATIC_KEY": "hunter2-short", "DS_STORAGE__ACID_SHARD_COUNT": "3",
                "HTTP_PORT": "x",
            ],
            files: [
                "config/default.toml": "[limits]\nmax_stream_byte = 1\nmax_memory_bytes = \"lots\"\n",
                "config/local.toml": "[auth\n",
            ], profile: "prod")
        let report = try #require(throws: ConfigurationReport.self) { try Settings.load(sources: sources) }
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden")
        let golden = try String(contentsOf: folder.appendingPathComponent("streams.txt"), encoding: .utf8)
        let text = report.render(color: false)
        #expect(text == golden, "\(text)")
        #expect(!text.contains("hunter2"))
        #expect(report.exitCode == 1)
    }
}
