import Testing

@testable import Configuration

@Suite("Settings of the mirror")
struct MirrorSettingsTests {
    typealias Streams = StreamEnvironments

    private static let base = ["DATABASE_URL": "postgresql://u@h/d"]

    private func mirror(_ more: [String: String], files: [String: String] = [:]) throws -> MirrorSettings? {
        try Settings.load(sources: Streams.sources(Self.base.merging(more) { $1 }, files: files)).mirror
    }

    private func problems(_ more: [String: String], files: [String: String] = [:]) -> [String] {
        Streams.problems(Self.base.merging(["PENSTOCK_FRONTS": "streams"]) { $1 }.merging(more) { $1 }, files: files)
    }

    @Test func flowsAreKnownByName() throws {
        let settings = try Settings.load(
            environment: Self.base.merging(["PENSTOCK_MIRROR_FLOWS": "items, session-events"]) { $1 }, builtParts: [])
        // The database is there for the flows: no other front comes with it.
        #expect(settings.fronts.explanation == "streams (PENSTOCK_MIRROR_FLOWS is set)")
        #expect(settings.unavailable.contains { $0.contains("mirror") })
        #expect(
            settings.mirror?.flows == [
                MirrorFlow(name: "items", direction: .tableToStream, source: .name("items"), target: "pg-items"),
                MirrorFlow(
                    name: "session-events", direction: .streamToTable, source: .name("session-events"),
                    target: "session_events"),
            ])
        let limits = try self.mirror([
            "PENSTOCK_MIRROR_FLOWS": "items", "PENSTOCK_MIRROR_BATCH_SIZE": "7", "PENSTOCK_MIRROR_BATCH_MS": "8",
            "PENSTOCK_MIRROR_WORKERS": "9", "PENSTOCK_MIRROR_DEAD_LETTER_TABLE": "ops.dead",
            "PENSTOCK_MIRROR_START": "now",
        ])?.flows.first
        #expect(limits?.batchSize == 7)
        #expect(limits?.batchDelay == .milliseconds(8))
        #expect(limits?.workers == 9)
        #expect(limits?.deadLetterTable == "ops.dead")
        #expect(limits?.start == .now)
        #expect(try self.mirror(["PENSTOCK_FRONTS": "streams"]) == nil)
    }

    @Test func filesAndVariablesDescribeFlows() throws {
        let text = """
            [[mirror]]
            name = "orders"
            source = "orders/"
            target = "public.orders"
            mode = "upsert"
            key = ["id"]
            columns = { "value.id" = "id", "$.value.title" = "title" }
            batch_size = 10
            start = "now"
            [[mirror]]
            name = "list"
            source = ["a", "b/c"]
            target = "events"
            """
        let flows = try self.mirror(
            [
                "PENSTOCK_FRONTS": "streams", "PENSTOCK_MIRROR_DIRECTION": "table-to-stream",
                "PENSTOCK_MIRROR_SOURCE": "public.users", "PENSTOCK_MIRROR_TARGET": "pg/users",
                "PENSTOCK_MIRROR_BATCH_SIZE": "20",
            ],
            files: [
                "config/default.toml": "[[mirror]]\nname=\"gone\"\nsource=\"x\"\ntarget=\"y\"",
                "config/local.toml": text,
            ]
        )?.flows
        #expect(flows?.map(\.name) == ["orders", "list", "environment"])
        #expect(flows?[0].source == .prefix("orders/"))
        #expect(flows?[0].mode == .upsert)
        #expect(flows?[0].key == ["id"])
        #expect(
            flows?[0].columns == [
                .init(path: ["value", "title"], name: "title"), .init(path: ["value", "id"], name: "id"),
            ])
        #expect(flows?[0].batchSize == 10)
        #expect(flows?[0].start == .now)
        #expect(flows?[1].source == .list(["a", "b/c"]))
        #expect(flows?[1].batchSize == 20)
        #expect(flows?[2].direction == .tableToStream)
        #expect(flows?[2].source == .name("public.users"))
    }

    @Test(arguments: [
        (["FLOWS": "nope"], "FLOWS"), (["SOURCE": "s"], "TARGET"), (["TARGET": "t"], "SOURCE"),
        (["SOURCE": "a//b", "TARGET": "t"], "SOURCE"), (["SOURCE": "__ds/x", "TARGET": "t"], "SOURCE"),
        (["SOURCE": "a,b*", "TARGET": "t"], "SOURCE"), (["SOURCE": "s", "TARGET": "a.b.c"], "TARGET"),
        (["SOURCE": "s", "TARGET": "a b"], "TARGET"),
        (["SOURCE": "s", "TARGET": "t", "DIRECTION": "both"], "DIRECTION"),
        (["SOURCE": "a,b", "TARGET": "t", "DIRECTION": "table-to-stream"], "SOURCE"),
        (["SOURCE": "a", "TARGET": "../t", "DIRECTION": "table-to-stream"], "TARGET"),
        (["SOURCE": "a", "TARGET": "t", "DIRECTION": "table-to-stream", "MODE": "upsert"], "MODE"),
        (["SOURCE": "s", "TARGET": "t", "MODE": "upsert", "COLUMNS": "a=b"], "KEY"),
        (["SOURCE": "s", "TARGET": "t", "MODE": "upsert", "KEY": "id"], "COLUMNS"),
        (["SOURCE": "s", "TARGET": "t", "MODE": "upsert", "KEY": "id", "COLUMNS": "a=b"], "KEY"),
        (["SOURCE": "s", "TARGET": "t", "COLUMNS": "a=b,c=b"], "COLUMNS"),
        (["SOURCE": "s", "TARGET": "t", "COLUMNS": "a..b=c"], "COLUMNS"),
        (["FLOWS": "items", "BATCH_SIZE": "0"], "BATCH_SIZE"), (["FLOWS": "items", "WORKERS": "1000"], "WORKERS"),
        (["FLOWS": "items", "START": "then"], "START"),
        (["FLOWS": "items", "DEAD_LETTER_TABLE": "a;b c"], "DEAD_LETTER_TABLE"),
    ])
    func aWrongValueIsReportedUnderItsName(values: [String: String], name: String) {
        let environment = Dictionary(uniqueKeysWithValues: values.map { ("PENSTOCK_MIRROR_" + $0.key, $0.value) })
        let problems = self.problems(environment)
        #expect(problems.count == 1, "\(problems)")
        #expect(problems.first?.hasPrefix("PENSTOCK_MIRROR_\(name) ") == true, "\(problems)")
    }

    @Test func aMirrorNeedsADatabaseAndTheFront() {
        #expect(
            Streams.problems(["PENSTOCK_MIRROR_FLOWS": "items"]) == ["DATABASE_URL not set. The mirror needs it"])
        #expect(
            Environments.problems(["PENSTOCK_MIRROR_FLOWS": "items", "PENSTOCK_FRONTS": "satellite"]) == [
                "PENSTOCK_MIRROR_FLOWS is set, while the streams front is off. Add streams to PENSTOCK_FRONTS"
            ])
    }

    @Test func flowsMustNotFeedEachOther() {
        let problems = self.problems([
            "PENSTOCK_MIRROR_FLOWS": "items", "PENSTOCK_MIRROR_SOURCE": "pg-*",
            "PENSTOCK_MIRROR_TARGET": "public.items",
        ])
        #expect(problems.count == 1)
        #expect(problems.first?.contains("feed each other") == true)
        let twice =
            "[[mirror]]\nname=\"a\"\nsource=\"x\"\ntarget=\"y\"\n[[mirror]]\nname=\"a\"\nsource=\"x\"\ntarget=\"z\"\n"
        #expect(self.problems([:], files: ["config/default.toml": twice]).first?.contains("two flows") == true)
        let typo = "[[mirror]]\nnam=\"a\"\nsource=\"x\"\ntarget=\"y\"\n"
        #expect(
            self.problems([:], files: ["config/default.toml": typo]) == [
                "mirror.nam of flow 1 (config/default.toml) is unknown. Did you mean name?",
                "mirror.name of flow 1 (config/default.toml) not set. Every flow needs a name of its own",
            ])
        let foreign = "[[mirror]]\nname=\"a\"\ncolour=\"red\"\nsource=\"x\"\ntarget=\"y\"\n"
        #expect(
            self.problems([:], files: ["config/default.toml": foreign]) == [
                "mirror.colour of a (config/default.toml) is unknown. Known are batch_ms, batch_size, columns, "
                    + "dead_letter_table, direction, key, mode, name, source, start, target, workers"
            ])
    }

    @Test(arguments: [
        ("orders/*", "orders/1", true), ("orders/*", "orders/1/2", false), ("orders/**", "orders/1/2", true),
        ("*", "a", true), ("*", "a/b", false), ("a?c", "abc", true), ("a?c", "a/c", false), ("a*c*e", "abcde", true),
        ("a*c*e", "abcd", false), ("*/events", "x/events", true), ("**/events", "x/y/events", true), ("a", "ab", false),
        ("ä*", "äb", true),
    ])
    func patternsMatchByTheirStars(pattern: String, name: String, matches: Bool) {
        #expect(MirrorFlow.Source.pattern(pattern).matches(name) == matches)
    }

    @Test func aLongPatternOfStarsEndsSoon() {
        let pattern = String(repeating: "*a", count: 200) + "b"
        #expect(!MirrorFlow.Source.pattern(pattern).matches(String(repeating: "a", count: 1000)))
        #expect(MirrorFlow.Source.prefix("a/").matches("a/b"))
        #expect(!MirrorFlow.Source.prefix("a/").matches("a/"))
    }
}
