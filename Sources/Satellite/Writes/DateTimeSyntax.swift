/// Dates and times as clients may write them.
enum DateTimeSyntax {
    typealias Failure = ValueValidator.Failure

    /// `YYYY-MM-DD`, a real date of the years 1 to 9999.
    static func date(_ bytes: [UInt8]) throws(Failure) {
        var reader = DigitReader(bytes)
        try Self.date(&reader, bytes, type: "date")
        guard reader.isAtEnd else { throw .unexpected(bytes, "date") }
    }

    /// `HH:MM:SS[.ffffff]`.
    static func time(_ bytes: [UInt8]) throws(Failure) {
        var reader = DigitReader(bytes)
        try Self.time(&reader, bytes, type: "time")
        guard reader.isAtEnd else { throw .unexpected(bytes, "time") }
    }

    /// Date and time, separated by a space or `T`; with an offset of zero for `timestamptz`, with none for `timestamp`.
    static func timestamp(_ bytes: [UInt8], type: String) throws(Failure) {
        var reader = DigitReader(bytes)
        try Self.date(&reader, bytes, type: type)
        guard reader.skip(" ") || reader.skip("T") else { throw .unexpected(bytes, type) }
        try Self.time(&reader, bytes, type: type)
        if type == "timestamptz" {
            guard reader.skip("Z") || Self.zeroOffset(&reader) else { throw .unexpected(bytes, type) }
        }
        guard reader.isAtEnd else { throw .unexpected(bytes, type) }
    }

    private static func zeroOffset(_ reader: inout DigitReader) -> Bool {
        guard reader.skip("+"), reader.skip("0"), reader.skip("0") else { return false }
        if reader.isAtEnd { return true }
        return reader.skip(":") && reader.skip("0") && reader.skip("0")
    }

    private static func date(_ reader: inout DigitReader, _ bytes: [UInt8], type: String) throws(Failure) {
        guard let year = reader.number(4...4), reader.skip("-"), let month = reader.number(2...2), reader.skip("-"),
            let day = reader.number(2...2)
        else { throw .unexpected(bytes, type) }
        guard year >= 1 else { throw Failure("Year out of range: \(ValueValidator.quoted(bytes))") }
        guard day >= 1, day <= PostgresTimestamp.daysInMonth(year: year, month: month) else {
            throw .unexpected(bytes, type)
        }
    }

    private static func time(_ reader: inout DigitReader, _ bytes: [UInt8], type: String) throws(Failure) {
        guard let hour = reader.number(2...2), reader.skip(":"), let minute = reader.number(2...2), reader.skip(":"),
            let second = reader.number(2...2), hour < 24, minute < 60, second < 60
        else { throw .unexpected(bytes, type) }
        if reader.skip("."), reader.fraction() == nil { throw .unexpected(bytes, type) }
    }
}
