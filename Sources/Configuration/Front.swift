/// A protocol the service speaks to clients.
package enum Front: String, CaseIterable, Hashable, Sendable, Comparable {
    /// The WebSocket protocol of the legacy sync service, its HTTP paths and its migrations proxy.
    case satellite
    /// The shape API of Electric 1.x.
    case shapes
    /// Durable streams.
    case streams

    package static func < (left: Front, right: Front) -> Bool {
        (Self.allCases.firstIndex(of: left) ?? 0) < (Self.allCases.firstIndex(of: right) ?? 0)
    }
}

/// Which fronts are on, each with the reason.
package struct FrontSelection: Hashable, Sendable {
    /// The reason why each front is on; the fronts that are off are missing.
    package let reasons: [Front: String]

    package init(reasons: [Front: String]) {
        self.reasons = reasons
    }

    /// The fronts that are on.
    package var enabled: Set<Front> { Set(self.reasons.keys) }

    package func contains(_ front: Front) -> Bool { self.reasons[front] != nil }

    /// One line for the log at start-up: which fronts are on and why.
    package var explanation: String {
        self.reasons.sorted { $0.key < $1.key }.map { "\($0.key.rawValue) (\($0.value))" }.joined(separator: ", ")
    }

    /// Finds out what is asked for when nobody says so.
    ///
    /// Nothing is opened that nobody asked for. With a database the Satellite front is on, unless the only variables
    /// that name a front are those of Electric 1.x; without one, and without any variable of a front that needs one,
    /// the durable streams are on alone. A front that is asked for by its variables stays on without `DATABASE_URL`, so
    /// that the missing variable is reported instead of another service being started.
    ///
    /// - Parameters:
    ///   - names: The variables that are set to something.
    ///   - isShapeAPIOpen: Whether `ELECTRIC_INSECURE` is true.
    ///   - streamOption: An option of the command line that only the stream server has.
    static func inferred(
        from names: Set<String>, isShapeAPIOpen: Bool, streamOption: String? = nil
    ) -> FrontSelection {
        func first(where matches: (Variable) -> Bool) -> String? {
            Variable.allCases.first { names.contains($0.rawValue) && matches($0) }?.rawValue
        }
        let satellite = first(where: \.speaksForSatellite)
        let shapes = first(where: \.speaksForShapes)
        let hasDatabase = names.contains(Variable.databaseURL.rawValue)
        // The flows between streams and tables need the database for themselves.
        let mirror = names.filter { $0.hasPrefix("PENSTOCK_MIRROR_") }.min()
        let stream =
            streamOption ?? names.filter { $0.hasPrefix("DS_") }.min() ?? mirror
            ?? ["PENSTOCK_CONFIG", "PENSTOCK_PROFILE"].first(where: names.contains)
        var reasons: [Front: String] = [:]

        if let satellite {
            reasons[.satellite] = "\(satellite) is set"
        } else if hasDatabase, shapes == nil, mirror == nil {
            reasons[.satellite] = "DATABASE_URL is set"
        }
        if names.contains(Variable.electricSecret.rawValue) {
            reasons[.shapes] = "ELECTRIC_SECRET is set"
        } else if isShapeAPIOpen {
            reasons[.shapes] = "ELECTRIC_INSECURE is set"
        } else if let shapes, satellite == nil {
            // Asked for, though without the variable it needs: that one is then reported.
            reasons[.shapes] = "\(shapes) is set"
        }
        if let stream {
            reasons[.streams] = "\(stream) is set"
        } else if !hasDatabase, reasons.isEmpty {
            reasons[.streams] = "DATABASE_URL is not set"
        }
        return FrontSelection(reasons: reasons)
    }
}
