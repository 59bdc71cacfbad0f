internal import ExactText
package import NIOCore

/// Checks a value that a client sent for a column, by the column's type, and brings it into the form that is stored.
///
/// Nothing that passes makes Postgres refuse the value for its syntax, so that a mistake is reported to the client that
/// made it, at once, instead of failing its whole transaction later.
package enum ValueValidator {
    /// Why a value is refused. The text goes to the client that sent the value.
    package struct Failure: Error, Hashable, CustomStringConvertible {
        package var description: String

        init(_ description: String) { self.description = description }

        static func unexpected(_ bytes: [UInt8], _ type: String) -> Failure {
            Failure("Unexpected value for \(type) column: \(ValueValidator.quoted(bytes))")
        }
    }

    /// - Returns: the value to store; the same as given, but for uuids, which become lower-case.
    package static func validate(_ value: ByteBuffer, column: SatelliteTable.Column) throws(Failure) -> ByteBuffer {
        let bytes = Array(value.readableBytesView)
        if let labels = column.enumLabels {
            guard let text = Self.text(bytes), labels.containsExactly(text) else {
                throw Failure("Unexpected value \(Self.quoted(bytes)) for enum type \(column.typeName)")
            }
            return value
        }
        switch column.typeName {
        case "bytea":
            return value
        case "bool":
            guard bytes == [UInt8(ascii: "t")] || bytes == [UInt8(ascii: "f")] else {
                throw .unexpected(bytes, "bool")
            }
        case "int2": try Self.integer(bytes, in: Int64(Int16.min)...Int64(Int16.max), type: "int2")
        case "int4": try Self.integer(bytes, in: Int64(Int32.min)...Int64(Int32.max), type: "int4")
        case "int8": try Self.integer(bytes, in: Int64.min...Int64.max, type: "int8")
        case "float4": try Self.float(bytes, type: "float4")
        case "float8": try Self.float(bytes, type: "float8")
        case "text", "varchar":
            guard Self.text(bytes) != nil else {
                throw Failure("Invalid text in \(column.typeName) column: it must be UTF-8 without NUL")
            }
        case "uuid":
            return ByteBuffer(bytes: try Self.uuid(bytes))
        case "jsonb":
            guard JSONSyntax.isValid(bytes) else { throw Failure("Invalid JSON found in jsonb column") }
        case "date": try DateTimeSyntax.date(bytes)
        case "time": try DateTimeSyntax.time(bytes)
        case "timestamp": try DateTimeSyntax.timestamp(bytes, type: "timestamp")
        case "timestamptz": try DateTimeSyntax.timestamp(bytes, type: "timestamptz")
        default:
            throw Failure("Columns of type \(column.typeName) cannot be written by clients")
        }
        return value
    }

    private static func text(_ bytes: [UInt8]) -> String? {
        bytes.contains(0) ? nil : String(validating: bytes, as: UTF8.self)
    }

    private static func integer(_ bytes: [UInt8], in range: ClosedRange<Int64>, type: String) throws(Failure) {
        var digits = bytes[...]
        if let sign = digits.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { digits.removeFirst() }
        guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }) else {
            throw Failure("Non-integer value given for \(type) column: \(Self.quoted(bytes))")
        }
        guard let value = Int64(String(decoding: bytes, as: UTF8.self)), range.contains(value) else {
            throw Failure("Value out of range for \(type) column: \(Self.quoted(bytes))")
        }
    }

    private static func float(_ bytes: [UInt8], type: String) throws(Failure) {
        let text = String(decoding: bytes, as: UTF8.self)
        switch text.lowercased() {
        case "inf", "infinity", "-inf", "-infinity", "nan": return
        default: break
        }
        guard JSONSyntax.isDecimal(bytes), let value = Double(text) else { throw .unexpected(bytes, type) }
        let significand = bytes.prefix { $0 != UInt8(ascii: "e") && $0 != UInt8(ascii: "E") }
        let isZero = significand.allSatisfy { !(0x31...0x39).contains($0) }
        let isInRange: Bool
        if type == "float4" {
            let narrow = Float(value)
            isInRange = narrow.isFinite && (isZero || narrow != 0)
        } else {
            isInRange = value.isFinite && (isZero || value != 0)
        }
        guard isInRange else { throw Failure("Value out of range for \(type) column: \(Self.quoted(bytes))") }
    }

    private static func uuid(_ bytes: [UInt8]) throws(Failure) -> [UInt8] {
        var result = bytes
        guard bytes.count == 36 else { throw .unexpected(bytes, "uuid") }
        for (index, byte) in bytes.enumerated() {
            switch index {
            case 8, 13, 18, 23:
                guard byte == UInt8(ascii: "-") else { throw .unexpected(bytes, "uuid") }
            default:
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): break
                case UInt8(ascii: "A")...UInt8(ascii: "F"): result[index] = byte | 0x20
                default: throw .unexpected(bytes, "uuid")
                }
            }
        }
        return result
    }

    /// A value for an error text: short and printable.
    static func quoted(_ bytes: [UInt8]) -> String {
        let limit = 64
        guard let text = String(validating: bytes.prefix(limit), as: UTF8.self),
            text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
        else { return "<\(bytes.count) bytes>" }
        return bytes.count > limit ? "\"\(text)...\"" : "\"\(text)\""
    }
}
