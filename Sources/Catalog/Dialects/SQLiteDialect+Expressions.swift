extension SQLiteDialect {
    /// The expression as SQLite reads it, or nil where it has no equivalent.
    package static func expression(_ expression: SQLExpression) -> String? {
        switch expression {
        case .null: return "NULL"
        case .boolean(let value): return value ? "1" : "0"
        case .number(let text): return text
        case .string(let text): return self.literal(text)
        case .column(let path): return path.last.map { SQLText.identifier($0) }
        case .allColumns: return "*"
        case .function(let name, let arguments): return self.function(name, arguments)
        case .valueFunction(let name, _): return self.valueFunctions[name]
        case .cast(let operand, let type): return self.cast(operand, to: type)
        case .unary(let symbol, let operand):
            guard symbol == "-" || symbol == "~" else { return nil }
            return self.expression(operand).map { "(\(symbol) \($0))" }
        case .binary(let symbol, let left, let right):
            guard self.operators.contains(symbol) else { return nil }
            return self.joined([left, right], " \(symbol) ")
        case .conjunction(let terms): return self.joined(terms, " AND ")
        case .disjunction(let terms): return self.joined(terms, " OR ")
        case .negation(let operand): return self.expression(operand).map { "(NOT \($0))" }
        case .test(let operand, let truth, let isNegated):
            let keyword = truth == .unknown ? "NULL" : truth.rawValue
            return self.expression(operand).map { "(\($0) IS \(isNegated ? "NOT " : "")\(keyword))" }
        case .distinct(let left, let right, let isNegated):
            return self.joined([left, right], isNegated ? " IS " : " IS NOT ")
        case .membership(let operand, let list, let isNegated):
            return self.membership(operand, list, isNegated: isNegated)
        case .between(let operand, let lower, let upper, let isNegated):
            guard let value = self.expression(operand), let bounds = self.list([lower, upper]) else { return nil }
            return "(\(value) \(isNegated ? "NOT " : "")BETWEEN \(bounds.joined(separator: " AND ")))"
        case .like(let operand, let pattern, let escape, let ignoresCase, let isNegated):
            // Why: LIKE takes no notice of case in SQLite. NOT LIKE would refuse what Postgres has accepted.
            guard ignoresCase || !isNegated, let value = self.expression(operand),
                let pattern = self.expression(pattern)
            else { return nil }
            var text = "\(value) \(isNegated ? "NOT " : "")LIKE \(pattern)"
            if let escape {
                guard let character = self.expression(escape) else { return nil }
                text += " ESCAPE \(character)"
            }
            return "(\(text))"
        case .quantified(let symbol, let left, let isAll, let right):
            guard symbol == "=" && !isAll || symbol == "<>" && isAll, let members = self.elements(of: right) else {
                return nil
            }
            return self.membership(left, members, isNegated: isAll)
        case .conditional(let operand, let branches, let otherwise):
            return self.conditional(operand, branches, otherwise)
        case .collated(let operand, _): return self.expression(operand)
        case .bits, .array, .row, .element, .opaque: return nil
        }
    }

    // MARK: - Parts

    /// Names of the current time. Who the user is, SQLite cannot say.
    private static let valueFunctions = [
        "CURRENT_TIMESTAMP": "current_timestamp", "LOCALTIMESTAMP": "current_timestamp",
        "CURRENT_DATE": "current_date", "CURRENT_TIME": "current_time", "LOCALTIME": "current_time",
    ]

    private static let operators: Set<String> = [
        "=", "<>", "<", ">", "<=", ">=", "+", "-", "*", "/", "%", "||", "&", "|", "<<", ">>", "->", "->>",
    ]

    /// Functions whose value only Postgres can give.
    private static let serverFunctions: Set<String> = [
        "nextval", "currval", "setval", "lastval", "gen_random_uuid", "uuid_generate_v1", "uuid_generate_v1mc",
        "uuid_generate_v4", "timezone", "current_setting",
    ]

    /// The bytea form `\xAB` becomes `x'AB'`.
    private static func literal(_ text: String) -> String {
        let digits = text.utf8.dropFirst(2)
        guard text.hasPrefix("\\x"), digits.count % 2 == 0, digits.allSatisfy({ self.isHexadecimal($0) }) else {
            return SQLText.literal(text)
        }
        return "x'\(text.dropFirst(2))'"
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (byte >= 0x30 && byte <= 0x39) || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x66)
    }

    private static func function(_ path: [String], _ arguments: [SQLExpression]) -> String? {
        guard let name = path.last, path.count == 1 || path[path.count - 2] == "pg_catalog" else { return nil }
        guard !self.serverFunctions.contains(name), let arguments = self.list(arguments) else { return nil }
        switch name {
        case "concat":
            if arguments.isEmpty { return "''" }
            return "(\(arguments.map { "coalesce(\($0), '')" }.joined(separator: " || ")))"
        case "now" where arguments.isEmpty, "transaction_timestamp" where arguments.isEmpty:
            return "current_timestamp"
        default:
            return "\(self.functionName(name))(\(arguments.joined(separator: ", ")))"
        }
    }

    private static func functionName(_ name: String) -> String {
        let isPlain = name.utf8.allSatisfy {
            ($0 >= 0x61 && $0 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == UInt8(ascii: "_")
        }
        return isPlain ? name : SQLText.identifier(name)
    }

    private static func cast(_ operand: SQLExpression, to type: ColumnType) -> String? {
        self.expression(operand).map { "(CAST(\($0) AS \(self.type(type))))" }
    }

    private static func membership(
        _ operand: SQLExpression, _ list: [SQLExpression], isNegated: Bool
    ) -> String? {
        guard let value = self.expression(operand), let members = self.list(list) else { return nil }
        return "(\(value) \(isNegated ? "NOT " : "")IN (\(members.joined(separator: ", "))))"
    }

    /// The elements of ARRAY[...], through the cast that Postgres prints around it.
    private static func elements(of expression: SQLExpression) -> [SQLExpression]? {
        switch expression {
        case .array(let elements): elements
        case .cast(.array(let elements), let type) where type.isArray: elements
        default: nil
        }
    }

    private static func conditional(
        _ operand: SQLExpression?, _ branches: [SQLExpression.Branch], _ otherwise: SQLExpression?
    ) -> String? {
        var text = "CASE"
        if let operand {
            guard let value = self.expression(operand) else { return nil }
            text += " \(value)"
        }
        for branch in branches {
            guard let parts = self.list([branch.condition, branch.result]) else { return nil }
            text += " WHEN \(parts[0]) THEN \(parts[1])"
        }
        if let otherwise {
            guard let value = self.expression(otherwise) else { return nil }
            text += " ELSE \(value)"
        }
        return "(\(text) END)"
    }

    private static func list(_ expressions: [SQLExpression]) -> [String]? {
        var texts: [String] = []
        for expression in expressions {
            guard let text = self.expression(expression) else { return nil }
            texts.append(text)
        }
        return texts
    }

    private static func joined(_ expressions: [SQLExpression], _ separator: String) -> String? {
        self.list(expressions).map { "(\($0.joined(separator: separator)))" }
    }
}
