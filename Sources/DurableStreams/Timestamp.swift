/// Points in time in the form of RFC 3339.
package enum Timestamp {
    /// Parses a date and time with `Z` or a numeric zone; nil unless it names a real second of the calendar.
    ///
    /// Fractions finer than a millisecond are cut off. Leap seconds are refused: they can not be told apart from a slip,
    /// and have no place on a clock that counts milliseconds. Times before 1970 become 0.
    package static func milliseconds(_ text: String) -> UInt64? {
        var parser = Parser(bytes: Array(text.utf8))
        guard let year = parser.number(digits: 4), parser.take("-"), let month = parser.number(digits: 2),
            parser.take("-"), let day = parser.number(digits: 2), parser.take("T") || parser.take("t"),
            let hour = parser.number(digits: 2), parser.take(":"), let minute = parser.number(digits: 2),
            parser.take(":"), let second = parser.number(digits: 2)
        else { return nil }
        var millisecond = 0
        if parser.take(".") {
            guard let fraction = parser.fraction() else { return nil }
            millisecond = fraction
        }
        var zone = 0
        if !(parser.take("Z") || parser.take("z")) {
            let isWest = parser.take("-")
            guard isWest || parser.take("+"), let hours = parser.number(digits: 2), parser.take(":"),
                let minutes = parser.number(digits: 2), hours < 24, minutes < 60
            else { return nil }
            zone = (hours * 60 + minutes) * (isWest ? -1 : 1)
        }
        guard parser.isAtEnd, (1...12).contains(month), (1...Self.days(in: month, of: year)).contains(day),
            hour < 24, minute < 60, second < 60
        else { return nil }
        let days = Self.daysSince1970(year: year, month: month, day: day)
        let seconds = ((days * 24 + hour) * 60 + minute - zone) * 60 + second
        let total = seconds * 1000 + millisecond
        return UInt64(max(total, 0))
    }

    /// Writes a point in time with milliseconds and `Z`.
    package static func text(milliseconds: UInt64) -> String {
        let capped = Int(min(milliseconds, 253_402_300_799_999))
        let (year, month, day) = Self.date(daysSince1970: capped / 86_400_000)
        let rest = capped % 86_400_000
        return
            "\(Self.padded(year, 4))-\(Self.padded(month, 2))-\(Self.padded(day, 2))T\(Self.padded(rest / 3_600_000, 2))"
            + ":\(Self.padded(rest / 60_000 % 60, 2)):\(Self.padded(rest / 1000 % 60, 2)).\(Self.padded(rest % 1000, 3))Z"
    }

    private static func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(width - digits.utf8.count, 0)) + digits
    }

    private static func isLeap(_ year: Int) -> Bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    private static func days(in month: Int, of year: Int) -> Int {
        switch month {
        case 2: return Self.isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: return 30
        default: return 31
        }
    }

    /// Days of the Gregorian calendar, counted from March so that the leap day comes last.
    private static func daysSince1970(year: Int, month: Int, day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    private static func date(daysSince1970: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = daysSince1970 + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let part = (5 * dayOfYear + 2) / 153
        let month = part < 10 ? part + 3 : part - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * part + 2) / 5 + 1)
    }

    private struct Parser {
        let bytes: [UInt8]
        var index = 0

        var isAtEnd: Bool { self.index == self.bytes.count }

        mutating func take(_ character: Unicode.Scalar) -> Bool {
            guard self.index < self.bytes.count, UInt32(self.bytes[self.index]) == character.value else { return false }
            self.index += 1
            return true
        }

        mutating func number(digits: Int) -> Int? {
            guard self.bytes.count - self.index >= digits else { return nil }
            var value = 0
            for byte in self.bytes[self.index..<(self.index + digits)] {
                let digit = byte &- UInt8(ascii: "0")
                guard digit < 10 else { return nil }
                value = value * 10 + Int(digit)
            }
            self.index += digits
            return value
        }

        /// Digits behind the point, as milliseconds.
        mutating func fraction() -> Int? {
            var value = 0
            var count = 0
            while self.index < self.bytes.count, self.bytes[self.index] &- UInt8(ascii: "0") < 10 {
                if count < 3 { value = value * 10 + Int(self.bytes[self.index] - UInt8(ascii: "0")) }
                count += 1
                self.index += 1
            }
            guard count > 0 else { return nil }
            for _ in count..<max(count, 3) { value *= 10 }
            return value
        }
    }
}
