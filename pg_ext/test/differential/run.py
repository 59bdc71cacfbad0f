#!/usr/bin/env python3
"""Differential test of the row triggers: PL/pgSQL against C.

For each table shape two tables are electrified, one with the triggers in
PL/pgSQL and one with those in C.  Random operations are applied to both in
the same transaction, so that CURRENT_TIMESTAMP and the transaction id agree,
and after each transaction the user rows, the shadow rows and the tombstone
rows of the two must be equal.  Statements that fail must fail alike.  Then the
messages about referenced rows are compared, on tables that refer to each other
and to themselves.

Runs as root (the server is started as user postgres) or as postgres:

    test/differential/run.py [--transactions N] [--seed S] [--bindir DIR]
                             [--sql DIR] [--shape NAME]

Without --bindir the extension is built and installed into a private copy of the
server that pg_config (or PG_CONFIG) names; with it, it must be installed where
that server finds it.
"""

import argparse
import json
import os
import pwd
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SQL_DIR = os.path.join(HERE, "..", "..", "..", "sql", "electric")

MARK = "-- end of answer --"


def literal(value):
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'"


def ident(name):
    return '"' + name.replace('"', '""') + '"'


class Shape:
    """A pair of tables of the same columns.

    columns: list of (name, type, generator); keys: names of the key columns.
    """

    def __init__(self, name, columns, keys, constraints=""):
        self.name = name
        self.columns = columns
        self.keys = keys
        self.constraints = constraints
        self.tables = {"plpgsql": "p_" + name, "c": "c_" + name}
        self.tags = {}      # key -> tags seen by clients
        self.others = [c for c in columns if c[0] not in keys]

    def create(self, table):
        columns = ["%s %s%s" % (ident(n), t, " NOT NULL" if n in self.keys else "")
                   for n, t, _ in self.columns]
        columns.append("PRIMARY KEY (%s)" % ", ".join(ident(k) for k in self.keys))
        return "CREATE TABLE public.%s (%s);" % (ident(table), ", ".join(columns))


def number(low, high):
    return lambda r: str(r.randint(low, high))


def choice(*values):
    return lambda r: r.choice(values)


def maybe(generator, odds=0.25):
    return lambda r: None if r.random() < odds else generator(r)


def long_text(r):
    kind = r.random()
    if kind < 0.3:
        return "short %d" % r.randint(1, 3)
    if kind < 0.6:
        # compressible, stored in line or compressed
        return "ab" * r.randint(3000, 9000)
    # not compressible: goes out of line
    noise = random.Random(r.randint(1, 4))
    return "".join(chr(noise.randint(33, 126)) for _ in range(12000))


def timestamptz(r):
    return "2024-0%d-01 00:00:00.%06d+0%d" % (r.randint(1, 9), r.choice([0, 1, 123456]), r.randint(0, 5))


SHAPES = [
    Shape("simple", [("id", "int", number(1, 8)), ("content", "text", maybe(choice("a", "b", "ä"))),
                     ("n", "int8", maybe(number(0, 2)))], ["id"]),
    Shape("composite", [("b", "text", choice("x", "y")), ("value", "float8", maybe(choice("0", "-0", "NaN", "1.5"))),
                        ("a", "uuid", choice("00000000-0000-0000-0000-000000000001",
                                             "00000000-0000-0000-0000-000000000002")),
                        ("flag", "bool", maybe(choice("t", "f")))], ["a", "b"]),
    Shape('Quoted "Näme', [('Key "1', "int", number(1, 5)), ("Select", "text", choice("p", "q")),
                           ("it's", "varchar", maybe(choice("m", "n"))), ("50%s %I", "int", maybe(number(0, 1)))],
          ['Key "1']),
    Shape("underscore", [("_id", "int", number(1, 5)), ("_hidden", "text", maybe(choice("h", "i"))),
                         ("__both", "int", number(0, 2)), ("plain_", "text", choice("x", "y"))], ["_id"]),
    Shape("keyonly", [("id", "int", number(1, 6)), ("other", "text", choice("s", "t"))], ["id", "other"]),
    Shape("types", [("id", "int8", number(1, 5)), ("color", "public.color", maybe(choice("RED", "GREEN"))),
                    ("bytes", "bytea", maybe(choice("\\x00ff", "\\x", "\\xdeadbeef"))),
                    ("at", "timestamptz", maybe(timestamptz)), ("day", "date", maybe(choice("2024-02-29", "infinity"))),
                    ("doc", "jsonb", maybe(choice('{"a": 1}', '{"a":1.0}', "null", '[1, "x"]'))),
                    ("small", "int2", maybe(number(0, 1))), ("real", "float4", maybe(choice("0.1", "-0", "0"))),
                    ("clock", "time", maybe(choice("12:00:00", "23:59:59.123456"))),
                    ("local", "timestamp", maybe(choice("2024-01-01 00:00:00", "2024-01-01 00:00:00.000001")))],
          ["id"]),
    Shape("enumkey", [("color", "public.color", choice("RED", "GREEN", "BLUE")), ("content", "text", maybe(choice("a", "b")))],
          ["color"]),
    Shape("toasted", [("id", "int", number(1, 4)), ("body", "text", maybe(long_text, 0.1)),
                      ("n", "int", maybe(number(0, 3))), ("other", "text", maybe(long_text, 0.1))], ["id"]),
    Shape("wide_" + "x" * 50, [("id", "int", number(1, 4)), ("a" * 40, "text", maybe(choice("k", "l")))], ["id"]),
]

CLIENTS = ["client-1", "Client_2", "c3"]


class Server:
    def __init__(self, bindir):
        self.bindir = bindir
        self.root = os.geteuid() == 0
        self.dir = tempfile.mkdtemp(prefix="penstock-diff-")
        self.data = os.path.join(self.dir, "data")
        if self.root:
            user = pwd.getpwnam("postgres")
            os.chown(self.dir, user.pw_uid, user.pw_gid)
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        self.run("pg_ctl", "-D", self.data, "-l", os.path.join(self.dir, "log"), "-w", "-o",
                 "-c listen_addresses= -c unix_socket_directories=%s -c fsync=off -c wal_level=logical "
                 "-c port=54329 -c log_min_messages=warning" % self.dir, "start")

    def command(self, name, *args):
        prefix = ["runuser", "-u", "postgres", "--"] if self.root else []
        return prefix + [os.path.join(self.bindir, name), *args]

    def run(self, name, *args):
        subprocess.run(self.command(name, *args), check=True, stdout=subprocess.DEVNULL, cwd="/")

    def stop(self, keep):
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")
        if keep:
            print("the server's files are in", self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


class Session:
    """psql reading statements from a pipe."""

    def __init__(self, server):
        self.process = subprocess.Popen(
            server.command("psql", "-X", "-q", "-A", "-t", "-h", server.dir, "-p", "54329", "-U", "postgres", "-d",
                           "postgres", "-v", "VERBOSITY=sqlstate", "-P", "null=<null>", "-f", "-"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", cwd="/")

    def execute(self, sql):
        """Runs statements; returns the lines of output, errors among them."""
        self.process.stdin.write(sql + "\n\\echo '" + MARK + "'\n")
        self.process.stdin.flush()
        lines = []
        while True:
            line = self.process.stdout.readline()
            if line == "":
                raise SystemExit("psql has gone away; last statement:\n" + sql[:4000])
            line = line.rstrip("\n")
            if line == MARK:
                return lines
            lines.append(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Driver:
    def __init__(self, session, rng):
        self.session = session
        self.rng = rng
        self.log = []
        self.counts = {}

    # Operations: each is a function of a table name, giving SQL.

    def where(self, shape, key):
        return " AND ".join("%s = %s" % (ident(k), literal(v)) for k, v in zip(shape.keys, key))

    def random_key(self, shape):
        by_name = {n: g for n, _, g in shape.columns}
        return tuple(by_name[k](self.rng) for k in shape.keys)

    def random_row(self, shape, key=None):
        key = key or self.random_key(shape)
        fixed = dict(zip(shape.keys, key))
        return [fixed.get(n, None) if n in fixed else g(self.rng) for n, _, g in shape.columns]

    def insert(self, shape):
        rows = [self.random_row(shape) for _ in range(self.rng.choice([1, 1, 1, 2, 4]))]
        names = ", ".join(ident(n) for n, _, _ in shape.columns)
        values = ", ".join("(%s)" % ", ".join(literal(v) for v in row) for row in rows)
        end = ""
        kind = self.rng.random()
        keys = ", ".join(ident(k) for k in shape.keys)
        if kind < 0.25:
            end = " ON CONFLICT DO NOTHING"
        elif kind < 0.6 and shape.others:
            some = [c for c in shape.others if self.rng.random() < 0.6] or shape.others[:1]
            end = " ON CONFLICT (%s) DO UPDATE SET %s" % (
                keys, ", ".join("%s = excluded.%s" % (ident(n), ident(n)) for n, _, _ in some))
            if len(set(tuple(r[i] for i, c in enumerate(shape.columns) if c[0] in shape.keys) for r in rows)) < len(rows):
                rows = rows[:1]
                values = "(%s)" % ", ".join(literal(v) for v in rows[0])
        return lambda t: "INSERT INTO public.%s (%s) VALUES %s%s;" % (ident(t), names, values, end)

    def update(self, shape):
        if not shape.others:
            return self.update_key(shape)
        some = [c for c in shape.others if self.rng.random() < 0.5]
        if not some:
            some = [self.rng.choice(shape.others)]
            sets = "%s = %s" % (ident(some[0][0]), ident(some[0][0]))   # changes nothing
        else:
            sets = ", ".join("%s = %s" % (ident(n), literal(g(self.rng))) for n, _, g in some)
        where = "" if self.rng.random() < 0.15 else " WHERE " + self.where(shape, self.random_key(shape))
        return lambda t: "UPDATE public.%s SET %s%s;" % (ident(t), sets, where)

    def update_key(self, shape):
        new = self.random_key(shape)
        sets = ", ".join("%s = %s" % (ident(k), literal(v)) for k, v in zip(shape.keys, new))
        if shape.others and self.rng.random() < 0.5:
            n, _, g = self.rng.choice(shape.others)
            sets += ", %s = %s" % (ident(n), literal(g(self.rng)))
        where = self.where(shape, self.random_key(shape))
        return lambda t: "UPDATE public.%s SET %s WHERE %s;" % (ident(t), sets, where)

    def delete(self, shape):
        where = "" if self.rng.random() < 0.05 else " WHERE " + self.where(shape, self.random_key(shape))
        return lambda t: "DELETE FROM public.%s%s;" % (ident(t), where)

    def reinsert(self, shape):
        """Delete and insert of a key in one transaction."""
        key = self.random_key(shape)
        row = self.random_row(shape, key)
        names = ", ".join(ident(n) for n, _, _ in shape.columns)
        return lambda t: "DELETE FROM public.%s WHERE %s; INSERT INTO public.%s (%s) VALUES (%s);" % (
            ident(t), self.where(shape, key), ident(t), names, ", ".join(literal(v) for v in row))

    def truncate(self, shape):
        return lambda t: "TRUNCATE public.%s;" % ident(t)

    def random_tag(self):
        offset = self.rng.choice([-3600000, -5000, -100, -1, 0, 1, 50, 60000])
        return (offset, self.rng.choice(CLIENTS))

    def client(self, shape):
        """One or more changes of a client, each in two halves."""
        client = self.rng.choice(CLIENTS)
        offset = self.rng.choice([-3600000, -5000, -100, -1, 0, 1, 50, 60000])
        parts = []
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            key = self.random_key(shape)
            kind = self.rng.choice(["insert", "update", "update", "delete", "compensation"])
            row = self.random_row(shape, key)
            if kind == "insert":
                mask = [True] * len(shape.others)
            elif kind == "update":
                mask = [self.rng.random() < 0.5 for _ in shape.others]
            else:
                mask = [False] * len(shape.others)
            self.counts["client " + kind] = self.counts.get("client " + kind, 0) + 1
            # what the client has seen: the present tags, some of them, or something else
            seen = self.rng.choice(["all", "all", "all", "none", "some", "other"])
            parts.append((key, kind, row, mask, seen, self.rng.random() < 0.1))
        names = ", ".join(ident(n) for n, _, _ in shape.columns)
        # relative to the start of the whole run, so that clients contend
        when = "(date_trunc('milliseconds', CURRENT_TIMESTAMP) + interval '%d milliseconds')" % offset
        tag = "ROW(%s, %s)::electric.unbounded_tag" % (when, literal(client))

        def sql(t):
            shadow = "electric.%s" % ident(cut("shadow__public__" + t))
            result = ["SET LOCAL electric.session_replication_role = 'replica';"]
            for key, kind, row, mask, seen, again in parts:
                present = "(SELECT s._tags FROM %s s WHERE %s)" % (shadow, self.where(shape, key))
                observed = {
                    "all": present,
                    "none": "'{}'",
                    "some": "%s[1:1]" % present,
                    "other": "ARRAY[%s]::electric.tag[]" % tag,
                }[seen]
                for _ in range(2 if again else 1):
                    result.append("INSERT INTO public.%s (%s) VALUES (%s);" % (
                        ident(t), names, ", ".join(literal(v) for v in row)))
                    result.append(
                        "INSERT INTO %s (%s, _tag, _is_a_delete_operation, _observed_tags, "
                        "_modified_columns_bit_mask) SELECT %s, %s, %s, %s, '{%s}';" % (
                            shadow, ", ".join(ident(k) for k in shape.keys),
                            ", ".join("%s::%s" % (literal(v), dict((n, ty) for n, ty, _ in shape.columns)[k])
                                      for k, v in zip(shape.keys, key)),
                            tag, "true" if kind == "delete" else "false", observed,
                            ",".join("t" if m else "f" for m in mask)))
            result.append("SET LOCAL electric.session_replication_role = '';")
            return " ".join(result)
        return sql

    def operation(self, shape):
        kind = self.rng.choices(
            ["insert", "update", "update_key", "delete", "reinsert", "truncate", "client"],
            [25, 25, 7, 12, 4, 1, 26])[0]
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return getattr(self, kind)(shape)

    def transaction(self, shape):
        """Statements of one transaction for both tables, and whether it commits."""
        pieces = []
        depth = 0
        for _ in range(self.rng.choice([1, 1, 2, 3, 6])):
            if self.rng.random() < 0.15:
                depth += 1
                pieces.append("SAVEPOINT s%d;" % depth)
            operation = self.operation(shape)
            both = []
            for language in ("plpgsql", "c"):
                both.append(operation(shape.tables[language]))
            pieces.append(both)
            if depth and self.rng.random() < 0.4:
                pieces.append(self.rng.choice(["ROLLBACK TO s%d;", "RELEASE s%d;"]) % depth)
                if pieces[-1].startswith("RELEASE") or self.rng.random() < 0.5:
                    if pieces[-1].startswith("ROLLBACK"):
                        pieces.append("RELEASE s%d;" % depth)
                    depth -= 1
        return pieces, self.rng.random() < 0.9

    def run_transaction(self, shape):
        pieces, commit = self.transaction(shape)
        self.session.execute("BEGIN;")
        for piece in pieces:
            if isinstance(piece, str):
                self.run(piece)
                continue
            answers = []
            for sql in piece:
                # each side in its own savepoint, so that a failure stays there
                self.session.execute("SAVEPOINT side;")
                answer = [line.split(": ", 1)[-1] for line in self.run(sql) if "ERROR" in line]
                if answer:
                    self.session.execute("ROLLBACK TO side;")
                    self.counts["errors"] = self.counts.get("errors", 0) + 1
                self.session.execute("RELEASE side;")
                answers.append([a[-5:] for a in answer[:1]])
            if answers[0] != answers[1]:
                return "different errors: %s %s\n%s" % (answers[0], answers[1], "\n".join(piece)[:3000])
        answer = self.session.execute("COMMIT;" if commit else "ROLLBACK;")
        if any("ERROR" in line for line in answer):
            return "commit failed: %s" % answer
        return self.compare(shape)

    def run(self, sql):
        self.log.append(sql if len(sql) < 3000 else sql[:3000] + " ...")
        return self.session.execute(sql)

    def compare(self, shape):
        tables = [
            ("public.%s", lambda t: t),
            ("electric.%s", lambda t: cut("shadow__public__" + t)),
            ("electric.%s", lambda t: cut("tombstone__public__" + t)),
        ]
        parts = []
        for pattern, name in tables:
            left = pattern % ident(name(shape.tables["plpgsql"]))
            right = pattern % ident(name(shape.tables["c"]))
            parts.append(
                "SELECT %s, side, md5(t), left(t, 1500) FROM (SELECT * FROM ("
                "(SELECT 'plpgsql' AS side, x::text AS t FROM %s x EXCEPT ALL SELECT 'plpgsql', y::text FROM %s y) "
                "UNION ALL (SELECT 'c', y::text FROM %s y EXCEPT ALL SELECT 'c', x::text FROM %s x)) d) d" % (
                    literal(name(shape.tables["plpgsql"])), left, right, right, left))
        lines = self.session.execute(" UNION ALL ".join(parts) + ";")
        return "\n".join(lines) if lines else None


def chain(session, rng, statements):
    """Messages about referenced rows: what the two sides put into the stream for the same statements."""
    for side, language in (("p", "plpgsql"), ("c", "c")):
        # the second key refers to the primary key in another order, and with another integer type
        answer = session.execute("""
            SET client_min_messages = warning;
            SET electric.row_trigger_language = '%(language)s';
            SET electric.guard = enforce;
            CREATE TABLE "%(s)s_Org" (id int PRIMARY KEY, "a ""b" bool, at timestamptz, bytes bytea, boss int);
            CREATE TABLE "%(s)s_Person" (org int, no int8, name text, friend_org int, friend_no int,
                note float8, PRIMARY KEY (no, org));
            CREATE UNIQUE INDEX ON "%(s)s_Person" (org, no);
            ALTER TABLE "%(s)s_Person" ADD CONSTRAINT "%(s)s_o" FOREIGN KEY (org) REFERENCES "%(s)s_Org"(id);
            ALTER TABLE "%(s)s_Person" ADD CONSTRAINT "%(s)s_f" FOREIGN KEY (friend_org, friend_no)
                REFERENCES "%(s)s_Person"(org, no);
            CALL electric.electrify('public', '%(s)s_Org'); CALL electric.electrify('public', '%(s)s_Person');
            SET electric.guard = off;
            ALTER TABLE "%(s)s_Org" ADD CONSTRAINT "%(s)s_b" FOREIGN KEY (id, boss) REFERENCES "%(s)s_Person"(org, no)
                NOT VALID;
            """ % {"s": side, "language": language})
        problems = [line for line in answer if "ERROR" in line]
        if problems:
            raise SystemExit("tables with references: %s" % problems)
    session.execute("BEGIN; %s COMMIT;" % " ".join(
        'INSERT INTO "%s_Org" SELECT i, true, NULL, NULL, NULL FROM generate_series(1, 4) i;'
        'INSERT INTO "%s_Person" SELECT o, n, NULL, NULL, NULL, NULL FROM generate_series(1, 4) o, '
        'generate_series(1, 4) n;' % (side, side) for side in ("p", "c")))
    session.execute("SELECT pg_create_logical_replication_slot('chain', 'test_decoding');")
    compared = 0
    for n in range(statements):
        kind = rng.random()
        org, no = rng.randint(1, 4), rng.randint(1, 4)
        if kind < 0.25:
            sql = ('INSERT INTO "%%s_Org" VALUES (%d, %s, \'2024-01-01 00:00:00.5+03\', \'\\x00ff\', NULL) '
                   'ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes;' % (org, rng.choice(["true", "NULL"])))
        elif kind < 0.6:
            rows = ", ".join("(%d, %d, 'n %d', %s, 0.1)" % (
                rng.randint(1, 4), 10 * n + i, n, rng.choice(["NULL, NULL", "%d, %d" % (org, no)])) for i in range(3))
            sql = ('INSERT INTO "%%s_Person" (org, no, name, friend_org, friend_no, note) SELECT v.* FROM (VALUES '
                   '(%d, %d::int8, \'k\', NULL::int, NULL::int, 0.1), %s) v ON CONFLICT (no, org) DO UPDATE '
                   'SET note = excluded.note;' % (org, no, rows))
        elif kind < 0.8:
            sql = 'UPDATE "%%s_Person" SET friend_org = %d, friend_no = %d WHERE org = %d AND no = %d;' % (
                rng.randint(1, 4), rng.randint(1, 4), org, no)
        else:
            sql = 'UPDATE "%%s_Org" SET boss = %d, "a ""b" = NOT "a ""b" WHERE id = %d;' % (no, org)
        session.execute("BEGIN; SAVEPOINT a;")
        if any("ERROR" in line for side in ("p", "c") for line in session.execute(sql % side)):
            session.execute("ROLLBACK;")
            continue
        session.execute("COMMIT;")
        found = {"p": [], "c": []}
        for line in session.execute("SELECT data FROM pg_logical_slot_get_changes('chain', NULL, NULL);"):
            if "prefix: electric.fk_chain_touch" not in line:
                continue
            message = json.loads(line.split("content:", 1)[1])
            side = message["table"][0]
            message["table"] = message["table"][2:]
            found[side].append(json.dumps(message, sort_keys=True))
        compared += len(found["c"])
        if sorted(found["p"]) != sorted(found["c"]):
            print("messages about referenced rows differ for: %s" % sql)
            for side in ("p", "c"):
                print(side, "\n  ".join(sorted(found[side])))
            return False
    print("%d statements, %d messages about referenced rows, no difference" % (statements, compared))
    return compared > 0


def cut(name):
    return name.encode("utf-8")[:63].decode("utf-8", "ignore")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--transactions", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--bindir", default=os.environ.get("PG_BINDIR"))
    parser.add_argument("--sql", default=SQL_DIR, help="the directory with the parts of the electric schema")
    parser.add_argument("--shape", default=None, help="only this shape")
    options = parser.parse_args()
    installed = None
    if options.bindir is None:
        sys.path.insert(0, os.path.join(HERE, "..", "worker"))
        from cluster import Installation
        installed = tempfile.mkdtemp(prefix="penstock-diff-inst-")
        os.chmod(installed, 0o755)
        options.bindir = Installation(installed).bindir
    seed = options.seed if options.seed is not None else int(time.time() * 1000) % 1000000007
    print("seed %d" % seed, flush=True)
    rng = random.Random(seed)

    server = Server(options.bindir)
    failed = True
    try:
        session = Session(server)
        install = ["BEGIN;"]
        for name in sorted(os.listdir(options.sql)):
            if name.endswith(".sql"):
                with open(os.path.join(options.sql, name), encoding="utf-8") as part:
                    install.append(part.read())
        install.append("COMMIT;")
        problems = session.execute("CREATE EXTENSION penstock;\n" + "\n".join(install))
        problems = [line for line in problems if "ERROR" in line]
        if problems:
            raise SystemExit("installation failed: " + "; ".join(problems[:3]))
        session.execute("SET client_min_messages = warning;"
                        "CREATE TYPE public.color AS ENUM ('RED', 'GREEN', 'BLUE');")
        shapes = [s for s in SHAPES if options.shape in (None, s.name)]
        for shape in shapes:
            for language, table in list(shape.tables.items()):
                answer = session.execute(
                    "SET electric.row_trigger_language = '%s'; %s CALL electric.electrify('public', %s);"
                    % (language, shape.create(table), literal(table)))
                if any("ERROR" in line for line in answer):
                    raise SystemExit("%s: %s" % (table, answer))
                answer = session.execute(
                    "SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n "
                    "ON n.oid = p.pronamespace WHERE t.tgrelid = 'public.%s'::regclass AND n.nspname = '%s';"
                    % (ident(table).replace("'", "''"), "penstock" if language == "c" else "electric"))
                if int(answer[0]) < 5:
                    raise SystemExit("%s has %s triggers in %s" % (table, answer[0], language))

        driver = Driver(session, rng)
        # rows from before electrification have no shadow row: a direct write without triggers stands for them
        for shape in shapes:
            row = driver.random_row(shape)
            for table in shape.tables.values():
                session.execute("BEGIN; ALTER TABLE public.%s DISABLE TRIGGER USER; INSERT INTO public.%s (%s) VALUES (%s);"
                                "SET LOCAL electric.guard = off; SET LOCAL electric.internal_ddl = 'on';"
                                "ALTER TABLE public.%s ENABLE TRIGGER USER; COMMIT;" % (
                                    ident(table), ident(table), ", ".join(ident(n) for n, _, _ in shape.columns),
                                    ", ".join(literal(v) for v in row), ident(table)))
                session.execute("SET electric.row_trigger_language = '%s'; "
                                "SELECT electric.install_row_triggers('public.%s'::regclass);"
                                % ("c" if table == shape.tables["c"] else "plpgsql", ident(table).replace("'", "''")))
        for n in range(options.transactions):
            shape = rng.choice(shapes)
            driver.log = []
            difference = driver.run_transaction(shape)
            if difference:
                print("transaction %d, table %s (seed %d): the sides differ" % (n, shape.name, seed))
                print("\n".join(driver.log))
                print(difference)
                return 1
        rows = session.execute(" UNION ALL ".join(
            "SELECT count(*) FROM electric.%s" % ident(cut("shadow__public__" + s.tables["c"])) for s in shapes) + ";")
        print("%d transactions, no difference; shadow rows %s" % (options.transactions, "+".join(rows)))
        print(", ".join("%s %d" % item for item in sorted(driver.counts.items())))
        if not chain(session, rng, options.transactions // 5):
            return 1
        session.close()
        failed = False
        return 0
    finally:
        server.stop(failed)
        if installed is not None:
            shutil.rmtree(installed, ignore_errors=True)
        print("differential: %d passed, %d failed" % (not failed, failed))


if __name__ == "__main__":
    sys.exit(main())
