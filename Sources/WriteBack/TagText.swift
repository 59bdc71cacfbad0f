/// Text of the SQL types `electric.tag` and `electric.tag[]`.
enum TagText {
    /// The end of the year 9999, in milliseconds since the Unix epoch.
    static let greatestTimestamp: Int64 = 253_402_300_799_999

    /// For example `("2023-06-06T00:00:00.000Z","client")`.
    static func tag(timestampMilliseconds: Int64, source: String?) -> String {
        let time = Self.timestamp(timestampMilliseconds)
        return source.map { "(\"\(time)\",\"\(Self.escaped($0))\")" } ?? "(\"\(time)\",)"
    }

    /// For example `{"(\"2023-06-06T00:00:00.000Z\",\"client\")"}`.
    static func array(_ tags: [WriteChange.ObservedTag]) -> String {
        let elements = tags.map { tag in
            "\"\(Self.escaped(Self.tag(timestampMilliseconds: tag.timestampMilliseconds, source: tag.source)))\""
        }
        return "{\(elements.joined(separator: ","))}"
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            if scalar == "\"" || scalar == "\\" { result.append("\\") }
            result.unicodeScalars.append(scalar)
        }
        return result
    }

    /// UTC with milliseconds. Days are counted in eras of 400 years that begin on 1 March, which puts the leap day
    /// last.
    static func timestamp(_ milliseconds: Int64) -> String {
        let dayLength: Int64 = 86_400_000
        let inDay = ((milliseconds % dayLength) + dayLength) % dayLength
        let days = (milliseconds - inDay) / dayLength + 719_468
        let era = (days >= 0 ? days : days - 146_096) / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func padded(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let time = "\(padded(inDay / 3_600_000, 2)):\(padded(inDay / 60_000 % 60, 2)):\(padded(inDay / 1000 % 60, 2))"
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T\(time).\(padded(inDay % 1000, 3))Z"
    }
}
