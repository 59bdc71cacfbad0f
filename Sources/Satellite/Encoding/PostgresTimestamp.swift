/// Points in time as Postgres prints them with `DateStyle = ISO` and `TimeZone = UTC`.
package enum PostgresTimestamp {
    /// Milliseconds since the Unix epoch, rounded down; nil for texts of another form, infinite ones among them.
    ///
    /// Accepts `2023-06-15 11:18:05.372+00`, the same with `T` and `Z`, a BC suffix, and `epoch`.
    package static func milliseconds(_ text: some Collection<UInt8>) -> Int64? {
        var bytes = Array(text)
        if bytes.elementsEqual("epoch".utf8) { return 0 }
        var isBeforeChrist = false
        if bytes.count > 3, bytes.suffix(3).elementsEqual(" BC".utf8) {
            isBeforeChrist = true
            bytes.removeLast(3)
        }
        var reader = DigitReader(bytes)
        guard var year = reader.number(4...6), reader.skip("-"), let month = reader.number(2...2), reader.skip("-"),
            let day = reader.number(2...2), reader.skip(" ") || reader.skip("T"), let hour = reader.number(2...2),
            reader.skip(":"), let minute = reader.number(2...2), reader.skip(":"), let second = reader.number(2...2),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 60
        else { return nil }
        var microseconds: Int64 = 0
        if reader.skip(".") {
            guard let fraction = reader.fraction() else { return nil }
            microseconds = fraction
        }
        guard reader.skip("Z") || (reader.skip("+") && reader.skip("0") && reader.skip("0")), reader.isAtEnd else {
            return nil
        }
        if isBeforeChrist { year = 1 - year }
        let seconds = Self.days(year: year, month: month, day: day) * 86_400 + hour * 3_600 + minute * 60 + second
        return seconds * 1_000 + microseconds / 1_000
    }

    /// Days from 1970-01-01 in the proleptic Gregorian calendar (the well-known era arithmetic, March-based years).
    package static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    package static func isLeap(_ year: Int64) -> Bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    /// Zero for months that do not exist.
    package static func daysInMonth(year: Int64, month: Int64) -> Int64 {
        switch month {
        case 1, 3, 5, 7, 8, 10, 12: return 31
        case 4, 6, 9, 11: return 30
        case 2: return Self.isLeap(year) ? 29 : 28
        default: return 0
        }
    }
}

/// Reads runs of decimal digits and single separators.
struct DigitReader {
    private let bytes: [UInt8]
    private var index = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { self.index == self.bytes.count }

    mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard self.index < self.bytes.count, self.bytes[self.index] == UInt8(ascii: character) else { return false }
        self.index += 1
        return true
    }

    /// As many digits as follow, if their number lies in `count`.
    mutating func number(_ count: ClosedRange<Int>) -> Int64? {
        var value: Int64 = 0
        var digits = 0
        while self.index < self.bytes.count, case let byte = self.bytes[self.index], (0x30...0x39).contains(byte) {
            digits += 1
            guard digits <= count.upperBound else { return nil }
            value = value * 10 + Int64(byte - 0x30)
            self.index += 1
        }
        return count.contains(digits) ? value : nil
    }

    /// One to six fraction digits, as microseconds.
    mutating func fraction() -> Int64? {
        let start = self.index
        guard let value = self.number(1...6) else { return nil }
        var scaled = value
        for _ in (self.index - start)..<6 { scaled *= 10 }
        return scaled
    }
}
