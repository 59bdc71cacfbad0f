import ExactText
import NIOCore
import PostgresClient

/// Keeps one row for each key: the messages of a batch are folded to what each key is in the end.
struct UpsertPlanner: Sendable {
    private let table: TargetTable
    private let columns: [(column: TargetTable.Column, path: [String])]
    /// Places in `columns`.
    private let key: [Int]

    init(_ table: TargetTable, key: [String], columns: [StreamToTableFlow.Column]) throws {
        guard !key.isEmpty else { throw MirrorError.fatal("the flow names no column of the key") }
        self.table = table
        var list: [(TargetTable.Column, [String])] = []
        for column in columns { list.append((try table.column(column.name), column.path)) }
        self.columns = list
        var places: [Int] = []
        for name in key {
            guard let place = list.firstIndex(where: { $0.0.name.isExactly(name) }) else {
                throw MirrorError.fatal("the key names \(name), which is none of the columns")
            }
            places.append(place)
        }
        self.key = places
    }

    /// What has become of one key.
    private struct Fold {
        var keyValues: [Int: ByteBuffer]
        var isDeletedFirst = false
        /// Nil: the row is gone.
        var values: [Int: ByteBuffer]?
    }

    private enum Reading {
        case skip
        case bad(String)
        case delete([Int: ByteBuffer])
        /// `isPartial`: members that are missing leave their column as it is.
        case put([Int: ByteBuffer], isPartial: Bool)
    }

    func plan(_ messages: ArraySlice<StreamMessage>, of origin: StreamOrigin) -> BatchPlan {
        var plan = BatchPlan()
        var order: [[ByteBuffer]] = []
        var folds: [[ByteBuffer]: Fold] = [:]
        for message in messages {
            let reading = origin.isJSON ? self.read(message) : .bad("rows are made of JSON, and the stream holds none")
            let values: [Int: ByteBuffer]
            switch reading {
            case .skip: continue
            case .bad(let reason):
                plan.letters.append(DeadLetter(message: message, reason: reason))
                continue
            case .delete(let found), .put(let found, _): values = found
            }
            let key = self.key.compactMap { values[$0] }
            if folds[key] == nil { order.append(key) }
            let keyValues = values.filter { self.key.contains($0.key) }
            var fold = folds[key] ?? Fold(keyValues: keyValues)
            switch reading {
            case .put(let values, let isPartial):
                if isPartial, !(fold.isDeletedFirst && fold.values == nil) {
                    fold.values = (fold.values ?? [:]).merging(values) { $1 }
                } else {
                    fold.values = self.filledUp(values)
                }
            default:
                fold.isDeletedFirst = true
                fold.values = nil
            }
            folds[key] = fold
        }
        self.addStatements(order.compactMap { folds[$0] }, to: &plan)
        return plan
    }

    private func filledUp(_ values: [Int: ByteBuffer]) -> [Int: ByteBuffer] {
        var values = values
        for place in self.columns.indices where values[place] == nil { values[place] = ByteBuffer(string: "null") }
        return values
    }

    private func read(_ message: StreamMessage) -> Reading {
        let json = JSONSlice(message.bytes)
        guard json.isObject else { return .bad("the message is no JSON object") }
        let operation = json.member("operation")
        if operation == nil, let headers = json.member("headers"), headers.member("control") != nil { return .skip }
        var name: String?
        if let operation, !operation.isNull {
            guard let text = operation.string else { return .bad("the operation is no text") }
            name = text
        }
        var values: [Int: ByteBuffer] = [:]
        for (place, item) in self.columns.enumerated() {
            if let value = json.value(at: item.path) { values[place] = value.bytes }
        }
        for place in self.key {
            let column = self.columns[place].column.name
            guard let value = values[place] else {
                return .bad("the message has no value for the key column \(column)")
            }
            if JSONSlice(value).isNull { return .bad("the value for the key column \(column) is null") }
        }
        switch name {
        case nil, "set", "insert", "upsert": return .put(values, isPartial: false)
        case "update": return .put(values, isPartial: true)
        case "remove", "delete": return .delete(values)
        default: return .bad("the operation is none of set, insert, update, upsert, remove and delete")
        }
    }

    // MARK: SQL

    /// Fails with division by zero when the database takes two of the keys for one: `1` and `"1"`, or a UUID in small and in
    /// capital letters. The batch is halved then, until such messages are apart and their order counts.
    private func distinctnessSQL(_ keys: [TargetTable.Column]) -> String {
        let names = keys.map { "r.\(SQLText.identifier($0.name))" }.joined(separator: ", ")
        return """
            SELECT 1 / CASE WHEN pg_catalog.count(*) = pg_catalog.count(DISTINCT (\(names))) THEN 1 ELSE 0 END \
            FROM \(self.table.records(keys))
            """
    }

    private func addStatements(_ folds: [Fold], to plan: inout BatchPlan) {
        if folds.count > 1 {
            plan.statements.append(
                PostgresStatement(
                    self.distinctnessSQL(self.key.map { self.columns[$0].column }),
                    [.text(buffer: self.rows(folds.map(\.keyValues)))], isReusable: true))
        }
        let deleted = folds.filter(\.isDeletedFirst)
        if !deleted.isEmpty {
            let keys = self.key.map { self.columns[$0].column }
            let condition = keys.map { "t.\(SQLText.identifier($0.name)) = r.\(SQLText.identifier($0.name))" }
            plan.statements.append(
                PostgresStatement(
                    """
                    DELETE FROM \(self.table.sqlName) AS t USING \(self.table.records(keys)) \
                    WHERE \(condition.joined(separator: " AND "))
                    """, [.text(buffer: self.rows(deleted.map(\.keyValues)))], isReusable: true))
        }
        // One statement for each set of columns that messages brought.
        var groups: [[Int]: [[Int: ByteBuffer]]] = [:]
        var order: [[Int]] = []
        for fold in folds {
            guard let values = fold.values else { continue }
            let places = values.keys.sorted()
            if groups[places] == nil { order.append(places) }
            groups[places, default: []].append(values)
        }
        for places in order {
            let sql = places.count == self.columns.count ? self.upsertSQL(places) : self.partialSQL(places)
            plan.statements.append(
                PostgresStatement(sql, [.text(buffer: self.rows(groups[places] ?? []))], isReusable: true))
        }
    }

    private func rows(_ list: [[Int: ByteBuffer]]) -> ByteBuffer {
        var rows = ByteBuffer()
        rows.writeInteger(UInt8(ascii: "["))
        for (number, values) in list.enumerated() {
            rows.writeStaticString(number == 0 ? "{" : ",{")
            var isFirst = true
            for (place, value) in values.sorted(by: { $0.key < $1.key }) {
                rows.writeMember(self.columns[place].column.name, isFirst: isFirst)
                rows.writeImmutableBuffer(value)
                isFirst = false
            }
            rows.writeInteger(UInt8(ascii: "}"))
        }
        rows.writeInteger(UInt8(ascii: "]"))
        return rows
    }

    private func names(_ places: [Int], _ prefix: String = "") -> String {
        places.map { prefix + SQLText.identifier(self.columns[$0].column.name) }.joined(separator: ", ")
    }

    private func assignments(_ places: [Int], from source: String) -> String {
        places.filter { !self.key.contains($0) }.map { place in
            let name = SQLText.identifier(self.columns[place].column.name)
            return "\(name) = \(source).\(name)"
        }.joined(separator: ", ")
    }

    private func upsertSQL(_ places: [Int]) -> String {
        let assignments = self.assignments(places, from: "EXCLUDED")
        let action = assignments.isEmpty ? "DO NOTHING" : "DO UPDATE SET \(assignments)"
        return """
            INSERT INTO \(self.table.sqlName) (\(self.names(places))) SELECT \(self.names(places, "r.")) \
            FROM \(self.table.records(places.map { self.columns[$0].column })) \
            ON CONFLICT (\(self.names(self.key))) \(action)
            """
    }

    /// Why not the same: an insert is checked for columns that must not be null before its conflict is found.
    private func partialSQL(_ places: [Int]) -> String {
        let assignments = self.assignments(places, from: "r")
        guard !assignments.isEmpty else { return self.upsertSQL(places) }
        let match = self.key.map { SQLText.identifier(self.columns[$0].column.name) }
        let records = self.table.records(places.map { self.columns[$0].column })
        return """
            WITH r AS MATERIALIZED (SELECT * FROM \(records)), \
            u AS (UPDATE \(self.table.sqlName) AS t SET \(assignments) FROM r \
            WHERE \(match.map { "t.\($0) = r.\($0)" }.joined(separator: " AND ")) \
            RETURNING \(match.map { "t.\($0)" }.joined(separator: ", "))) \
            INSERT INTO \(self.table.sqlName) (\(self.names(places))) SELECT \(self.names(places, "r.")) FROM r \
            WHERE NOT EXISTS (SELECT FROM u WHERE \(match.map { "u.\($0) = r.\($0)" }.joined(separator: " AND ")))
            """
    }
}
