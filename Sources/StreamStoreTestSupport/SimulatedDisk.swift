import StreamStore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The state behind a `FaultyFileSystem`.
struct SimulatedDisk: Sendable {
    static let sectorCount = 512

    struct Inode: Sendable {
        /// What reads see.
        var contents: [UInt8] = []
        /// What is on the disk for certain.
        var durable: [UInt8] = []
        /// Contents each sector had since it was last synced.
        var dirty: [Int: [[UInt8]]] = [:]
        /// Sizes the file had since it was last synced.
        var sizes: [Int] = []

        init(contents: [UInt8] = [], durable: [UInt8] = []) {
            self.contents = contents
            self.durable = durable
        }

        mutating func resize(to size: Int) {
            if size < self.contents.count {
                self.contents.removeLast(self.contents.count - size)
            } else {
                self.contents += [UInt8](repeating: 0, count: size - self.contents.count)
            }
            self.sizes.append(size)
        }

        mutating func write(_ bytes: ArraySlice<UInt8>, at position: Int) {
            guard !bytes.isEmpty else { return }
            let end = position + bytes.count
            if end > self.contents.count { self.resize(to: end) }
            self.contents.replaceSubrange(position..<end, with: bytes)
            for sector in (position / SimulatedDisk.sectorCount)...((end - 1) / SimulatedDisk.sectorCount) {
                self.dirty[sector, default: []].append(self.sector(sector))
            }
        }

        /// Overwrites with zeros what lies before a position, as far as the file goes.
        mutating func free(upTo end: Int) {
            let count = min(end, self.contents.count)
            self.write([UInt8](repeating: 0, count: count)[...], at: 0)
        }

        private func sector(_ number: Int) -> [UInt8] {
            let start = number * SimulatedDisk.sectorCount
            return Array(self.contents[start..<min(self.contents.count, start + SimulatedDisk.sectorCount)])
        }

        /// Brings sectors to the disk.
        mutating func persist(_ sectors: [Int: [UInt8]], size: Int) {
            if size < self.durable.count {
                self.durable.removeLast(self.durable.count - size)
            } else {
                self.durable += [UInt8](repeating: 0, count: size - self.durable.count)
            }
            for (sector, bytes) in sectors {
                let start = sector * SimulatedDisk.sectorCount
                guard start < size else { continue }
                let count = min(bytes.count, size - start)
                self.durable.replaceSubrange(start..<start + count, with: bytes[..<count])
            }
        }

        mutating func sync() {
            self.persist(self.dirty.compactMapValues(\.last), size: self.contents.count)
            self.dirty = [:]
            self.sizes = []
        }

        /// Brings one range to the disk as it is now, and nothing else.
        mutating func persist(_ range: Range<Int>) {
            guard !range.isEmpty else { return }
            var sectors: [Int: [UInt8]] = [:]
            for sector
                in (range.lowerBound / SimulatedDisk.sectorCount)...((range.upperBound - 1) / SimulatedDisk.sectorCount)
            {
                sectors[sector] = self.sector(sector)
                self.dirty[sector] = nil
            }
            self.persist(sectors, size: max(self.durable.count, min(range.upperBound, self.contents.count)))
        }

        /// What survives: each dirty sector old or as it was at some time since.
        mutating func persistSome(_ fate: Fate, using random: inout SplitMix) {
            var survivors: [Int: [UInt8]] = [:]
            var size = self.durable.count
            switch fate {
            case .nothing: break
            case .everything:
                survivors = self.dirty.compactMapValues(\.last)
                size = self.sizes.last ?? size
            case .some(let chance):
                for sector in self.dirty.keys.sorted() where Double.random(in: 0..<1, using: &random) < chance {
                    survivors[sector] = self.dirty[sector]?.randomElement(using: &random)
                }
                if !self.sizes.isEmpty, Double.random(in: 0..<1, using: &random) < max(chance, 0.5) {
                    size = self.sizes.randomElement(using: &random) ?? size
                }
            }
            self.persist(survivors, size: size)
            self.dirty = [:]
            self.sizes = []
        }
    }

    /// How kind a crash is.
    enum Fate {
        case nothing, everything
        case some(chance: Double)

        static func random(using random: inout SplitMix) -> Fate {
            switch Int.random(in: 0..<6, using: &random) {
            case 0: .nothing
            case 1: .everything
            default: .some(chance: Double.random(in: 0...1, using: &random))
            }
        }
    }

    enum DirectoryChange: Sendable {
        case create(String, Int)
        case unlink(String)
        case rename(String, String, Int)

        /// Renames stay within a directory.
        var path: String {
            switch self {
            case .create(let path, _), .unlink(let path), .rename(let path, _, _): path
            }
        }

        func apply(to entries: inout [String: Int]) {
            switch self {
            case .create(let path, let inode): entries[path] = inode
            case .unlink(let path): entries[path] = nil
            case .rename(let path, let target, let inode):
                if entries[path] == inode { entries[path] = nil }
                entries[target] = inode
            }
        }
    }

    var random: SplitMix
    var faults: FaultyFileSystem.Faults
    var inodes: [Inode] = []
    var entries: [String: Int] = [:]
    var durableEntries: [String: Int] = [:]
    var unsyncedChanges: [DirectoryChange] = []
    var locks: Set<String> = []
    var operationCount = 0
    var isOff = false
    /// Whether what a write leaves undone begins where a sector does. Otherwise a write may end inside one, which is
    /// more than a system does and what formats with checksums bear.
    var keepsSectorsWhole = false

    init(random: SplitMix, faults: FaultyFileSystem.Faults) {
        self.random = random
        self.faults = faults
    }

    /// Counts an operation and lets it fail if it is its turn.
    mutating func step(_ operation: FileError.Operation, _ path: String) throws(FileError) {
        if let number = self.nextFailure() { throw FileError(operation, path, number: number) }
    }

    private mutating func nextFailure() -> Int32? {
        guard !self.isOff else { return EIO }
        self.operationCount += 1
        if self.operationCount == self.faults.powerLoss {
            self.isOff = true
            return EIO
        }
        return self.faults.failures[self.operationCount]
    }

    mutating func apply(_ change: DirectoryChange) {
        change.apply(to: &self.entries)
        self.unsyncedChanges.append(change)
    }

    /// Makes the names of one directory durable as they are.
    mutating func syncDirectory(_ directory: String) {
        func isInside(_ path: String) -> Bool {
            path.hasPrefix(directory + "/") && !path.dropFirst(directory.count + 1).contains("/")
        }
        self.unsyncedChanges.removeAll { isInside($0.path) }
        self.durableEntries = self.durableEntries.filter { !isInside($0.key) }
        self.durableEntries.merge(self.entries.filter { isInside($0.key) }) { _, new in new }
    }

    /// The file of a name, made if there is none.
    mutating func inode(at path: String) -> Int {
        if let inode = self.entries[path] { return inode }
        self.inodes.append(Inode())
        self.apply(.create(path, self.inodes.count - 1))
        return self.inodes.count - 1
    }

    mutating func create(_ path: String) throws(FileError) -> Int {
        guard self.entries[path] == nil else { throw FileError(.open, path, number: EEXIST) }
        self.inodes.append(Inode())
        self.apply(.create(path, self.inodes.count - 1))
        return self.inodes.count - 1
    }

    /// How much of a write is done that is to be done in part.
    private func cut(_ done: Int, of count: Int, at position: Int) -> Int {
        guard self.keepsSectorsWhole, done < count else { return done }
        return max(0, (position + done) / Self.sectorCount * Self.sectorCount - position)
    }

    mutating func write(_ bytes: [UInt8], at position: Int, to inode: Int, path: String) throws(FileError) -> Int {
        if let number = self.nextFailure() {
            let done = self.cut(Int.random(in: 0...bytes.count, using: &self.random), of: bytes.count, at: position)
            self.inodes[inode].write(bytes[..<done], at: position)
            throw FileError(.write, path, number: number)
        }
        var count = bytes.count
        if count > 1, Double.random(in: 0..<1, using: &self.random) < self.faults.shortWriteChance {
            let cut = self.cut(Int.random(in: 1..<count, using: &self.random), of: count, at: position)
            if cut > 0 { count = cut }
        }
        if let quota = self.faults.quota {
            let used = Set(self.entries.values).reduce(0) { $0 + self.inodes[$1].contents.count }
            let growth = position + count - self.inodes[inode].contents.count
            count = min(count, count - max(0, used + growth - quota))
            guard count > 0 else { throw FileError(.write, path, number: ENOSPC) }
        }
        self.inodes[inode].write(bytes[..<count], at: position)
        return count
    }

    mutating func sync(_ inode: Int, path: String) throws(FileError) {
        var number = self.nextFailure()
        if number == nil, Double.random(in: 0..<1, using: &self.random) < self.faults.syncFailureChance { number = EIO }
        guard let number else {
            self.inodes[inode].sync()
            return
        }
        // The power going in a sync loses nothing by itself; a failed sync does.
        if !self.isOff {
            let chance = Double.random(in: 0...1, using: &self.random)
            self.inodes[inode].persistSome(.some(chance: chance), using: &self.random)
        }
        throw FileError(.sync, path, number: number)
    }

    /// Makes everything durable, or loses pages of each file.
    mutating func syncEverything(_ path: String) throws(FileError) {
        var number = self.nextFailure()
        if number == nil, Double.random(in: 0..<1, using: &self.random) < self.faults.syncFailureChance { number = EIO }
        guard let number else {
            for index in self.inodes.indices
            where !self.inodes[index].dirty.isEmpty || !self.inodes[index].sizes.isEmpty {
                self.inodes[index].sync()
            }
            self.durableEntries = self.entries
            self.unsyncedChanges = []
            return
        }
        if !self.isOff {
            let chance = Double.random(in: 0...1, using: &self.random)
            for index in self.inodes.indices where !self.inodes[index].dirty.isEmpty {
                self.inodes[index].persistSome(.some(chance: chance), using: &self.random)
            }
        }
        throw FileError(.sync, path, number: number)
    }

    /// What the next start after a power loss finds.
    mutating func afterPowerLoss() -> SimulatedDisk {
        self.isOff = true
        var next = SimulatedDisk(random: SplitMix(seed: self.random.next()), faults: FaultyFileSystem.Faults())
        let fate = Fate.random(using: &self.random)
        var entries = self.durableEntries
        for change in self.unsyncedChanges {
            let isKept =
                switch fate {
                case .nothing: false
                case .everything: true
                case .some(let chance): Double.random(in: 0..<1, using: &self.random) < chance
                }
            if isKept { change.apply(to: &entries) }
        }
        next.keepsSectorsWhole = self.keepsSectorsWhole
        next.inodes = self.inodes
        for index in next.inodes.indices {
            next.inodes[index].persistSome(fate, using: &self.random)
            next.inodes[index].contents = next.inodes[index].durable
        }
        next.entries = entries
        next.durableEntries = entries
        return next
    }

    /// What the next process finds after the end of this one.
    mutating func afterProcessEnd() -> SimulatedDisk {
        self.isOff = true
        var next = self
        next.random = SplitMix(seed: self.random.next())
        next.faults = FaultyFileSystem.Faults()
        next.isOff = false
        next.operationCount = 0
        next.locks = []
        return next
    }
}
