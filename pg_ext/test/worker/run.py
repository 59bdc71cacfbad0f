"""Scenarios of the worker: run as root (the server then runs as postgres) or as any other user.

    PG_CONFIG=/path/to/pg_config python3 run.py [name ...]

Each function named scenario_* gets a cluster of its own. The last line is 'N passed, N failed'.
"""

import struct
import traceback

from cluster import *

OLD = 30  # s, a limit for what should take a moment


def worker_rss(pid):
    """Private memory of the worker, in kB."""
    with open("/proc/%d/status" % pid) as f:
        return int([x for x in f if x.startswith("RssAnon")][0].split()[1])


def scenario_insert_arrives(c):
    """1 a row arrives; 2 an ack moves the slot; 3 a keepalive follows; 4 ping; 5 release and start again."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.accept()
    hello = k.hello()
    assert (hello.protocol, hello.database, hello.slot_state) == (1, "app", 1), vars(hello)
    assert hello.slot_name == "electric_replication_out_app" and hello.confirmed > 0
    k.start()
    c.sql("INSERT INTO items VALUES (1, 'one')")
    k.until("row", lambda: k.inserts and k.commits)
    assert k.inserts == [["1", "one"]]
    k.until("keepalive behind the commit", lambda: k.keepalive and k.keepalive[0] >= k.commits[-1])
    k.ack(k.commits[-1])
    want = "%X/%X" % (k.commits[-1] >> 32, k.commits[-1] & 0xffffffff)
    poll("confirmed", lambda: c.sql("SELECT confirmed_flush_lsn = '%s' FROM pg_replication_slots" % want) == "t")
    k.keepalive = None
    k.send("P")
    k.until("answer to ping", lambda: k.keepalive)
    assert c.status("state", via="app") == "streaming"
    k.send("Q")
    while k.frame().kind != "R":
        pass
    assert c.sql("SELECT active FROM pg_replication_slots") == "f"
    c.sql("INSERT INTO items VALUES (2, 'two')")
    k.start()
    k.until("second row", lambda: len(k.inserts) == 2)


def scenario_value_forms(c):
    """Values have fixed forms whatever the database's settings are."""
    c.prepare()
    c.sql("ALTER DATABASE app SET datestyle = 'SQL, MDY'; ALTER DATABASE app SET timezone = 'Asia/Tokyo';"
          "ALTER DATABASE app SET intervalstyle = 'iso_8601'; ALTER DATABASE app SET bytea_output = 'escape';"
          "ALTER DATABASE app SET extra_float_digits = -10;"
          "CREATE TABLE forms (id int PRIMARY KEY, t timestamptz, i interval, b bytea, f float8);"
          "ALTER PUBLICATION p ADD TABLE forms")
    os.kill(poll("worker", c.worker_pid), signal.SIGTERM)
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    c.sql("INSERT INTO forms VALUES (1, '2024-02-03 04:05:06.789+00', '1 day 2 hours', '\\x00ff', 0.1::float8 + 0.2)")
    k.until("row", lambda: k.inserts)
    assert k.inserts[0] == ["1", "2024-02-03 04:05:06.789+00", "1 day 02:00:00", "\\x00ff",
                            "0.30000000000000004"], k.inserts


def scenario_sidecar_restarts(c):
    """Nothing is lost or doubled over restarts of the sidecar."""
    c.prepare()
    rows = []
    position = 0
    for turn in range(4):
        sidecar = Sidecar(c)
        k = sidecar.streaming(position)
        for i in range(5):
            c.sql("INSERT INTO items VALUES (%d, 'x')" % (turn * 5 + i))
            k.until("row", lambda: len(k.inserts) == i + 1 and len(k.commits) == i + 1)
        rows += [int(r[0]) for r in k.inserts]
        position = k.commits[-1]
        if turn % 2 == 0:
            k.ack(position)
        k.close()
        sidecar.close()
    assert rows == list(range(20)), rows


def scenario_slow_sidecar(c):
    """A sidecar that does not read: 1 memory bounded; 2 DDL works; 3 all rows arrive later; 4 stalled is seen."""
    c.prepare()
    c.sql("ALTER SYSTEM SET penstock.stall_timeout = '1s'; ", "app")
    c.sql("SELECT pg_reload_conf()")
    sidecar = Sidecar(c)
    k = sidecar.accept()
    pid = k.hello().pid
    k.start()
    c.sql("INSERT INTO items VALUES (0, 'first')")
    k.until("first row", lambda: k.commits)
    before = worker_rss(pid)
    c.sql("INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 100000) i")
    poll("full buffer", lambda: int(c.status("buffered_bytes", via="app")) > 500000)
    poll("stalled", lambda: c.status("state", via="app") == "stalled")
    buffered = int(c.status("buffered_bytes", via="app"))
    assert 500000 < buffered < 3000000, buffered
    assert worker_rss(pid) - before < 80000, (before, worker_rss(pid))
    begin = time.monotonic()
    c.sql("CREATE TABLE another (id int PRIMARY KEY); ALTER TABLE items ADD COLUMN c int; DROP TABLE another")
    c.sql("CREATE DATABASE unrelated", "postgres")
    c.sql("DROP DATABASE unrelated", "postgres")
    assert time.monotonic() - begin < OLD
    # a reader who is always slower than the worker: what was sent must not stay in the buffer
    while len(k.inserts) < 100001:
        k.frame()
        if len(k.inserts) % 20000 == 0:
            assert worker_rss(pid) - before < 80000, (before, worker_rss(pid))
    assert [int(r[0]) for r in k.inserts] == list(range(100001))
    poll("streaming again", lambda: (k.ack(k.commits[-1]), c.status("state", via="app") == "streaming")[1])


def scenario_dead_sidecar(c):
    """A sidecar that dies in the middle of a transaction: the worker frees the slot and resumes."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    c.sql("INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i")
    k.until("some rows", lambda: len(k.inserts) > 10)
    k.close()
    poll("slot free", lambda: c.sql("SELECT active FROM pg_replication_slots") == "f")
    k = sidecar.streaming()
    k.until("all rows", lambda: len(k.inserts) == 50000 and k.commits)


def scenario_drop_database(c):
    """1 DROP DATABASE works with an active worker; 2 also mid-transaction with a full socket;
    3 the worker finds the database again when it is made anew; 4 RENAME and template copies work."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    begin = time.monotonic()
    c.sql("CREATE DATABASE copy TEMPLATE app", "postgres")
    assert k.error().code == 13
    k = sidecar.accept()
    k.hello()
    k.start()
    c.sql("ALTER DATABASE app RENAME TO app2", "postgres")
    k.expect_closed()
    c.sql("ALTER DATABASE app2 RENAME TO app", "postgres")
    k = sidecar.streaming()
    c.sql("INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
    poll("full buffer", lambda: int(c.status("buffered_bytes", via="app") or 0) > 100000)
    c.sql("DROP DATABASE app", "postgres")
    assert time.monotonic() - begin < OLD
    assert c.sql("SELECT count(*) FROM pg_replication_slots", "postgres") == "0"
    k.close()
    c.prepare()
    k = sidecar.streaming()
    c.sql("INSERT INTO items VALUES (1, 'again')")
    k.until("row", lambda: k.inserts)


def scenario_shutdown(c):
    """Fast shutdown and SIGTERM end a worker at once, also with a full socket."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.accept()
    pid = k.hello().pid
    k.start()
    c.sql("INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
    poll("full buffer", lambda: int(c.status("buffered_bytes", via="app") or 0) > 100000)
    begin = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    poll("end", lambda: not os.path.exists("/proc/%d" % pid) or c.worker_pid() != pid, interval=0.001)
    assert time.monotonic() - begin < 1, time.monotonic() - begin
    k = sidecar.streaming()
    poll("full buffer", lambda: int(c.status("buffered_bytes", via="app") or 0) > 100000)
    pid = c.worker_pid()
    c.sql("CHECKPOINT", "postgres")
    begin = time.monotonic()
    os.kill(c.postmaster_pid(), signal.SIGINT)
    poll("end", lambda: not os.path.exists("/proc/%d" % pid), interval=0.001)
    assert time.monotonic() - begin < 1, time.monotonic() - begin
    poll("server down", lambda: not os.path.exists(c.data + "/postmaster.pid"))


def scenario_wrong_peer(c):
    """A sidecar of another user is refused until penstock.socket_peers names it. Needs root."""
    if os.geteuid() != 0:
        return
    c.prepare()
    if os.path.exists(c.socket_path):
        os.unlink(c.socket_path)
    os.chmod(os.path.dirname(c.socket_path), 0o777)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # the credentials of a listening socket are those of listen()
    nobody = pwd.getpwnam("nobody").pw_uid
    os.seteuid(nobody)
    listener.bind(c.socket_path)
    os.chmod(c.socket_path, 0o777)
    listener.listen(8)
    os.seteuid(0)
    listener.settimeout(TIMEOUT)
    sock, _ = listener.accept()
    sock.settimeout(TIMEOUT)
    assert sock.recv(100) == b""
    poll("error in view", lambda: "penstock.socket_peers" in c.status("last_error", via="app"))
    c.sql("ALTER SYSTEM SET penstock.socket_peers = 'nosuchuser,%d'" % nobody, "postgres")
    c.sql("SELECT pg_reload_conf()", "postgres")
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        k = Connection(listener.accept()[0])
        try:
            assert k.hello().database == "app"
            return
        except Closed:
            continue
    raise AssertionError("never accepted")


def scenario_bad_frames(c):
    """Garbage, unknown types, huge and malformed frames, wrong versions: error and a new connection."""
    c.prepare()
    sidecar = Sidecar(c)

    def expect(code, data, streaming=False):
        k = sidecar.streaming() if streaming else sidecar.accept()
        if not streaming:
            k.hello()
        k.sock.sendall(data)
        error = k.error()
        assert error.code == code, (error.code, error.text)

    expect(1, b"\x00\x00\x00\x00garbage")
    expect(1, b"GET / HTTP/1.1\r\n\r\n")
    expect(1, struct.pack(">I", 1 << 31) + b"A")
    expect(1, struct.pack(">I", 16385) + b"S")
    expect(1, struct.pack(">I", 5) + b"A1234")
    expect(1, struct.pack(">I", 2) + b"P1")
    expect(1, struct.pack(">I", 1) + b"Z")
    expect(1, struct.pack(">IcHQBBH", 15, b"S", 1, 0, 1, 0, 9))
    expect(1, struct.pack(">IcHQBBH", 16, b"S", 1, 0, 1, 0x80, 1) + b"p")
    expect(2, struct.pack(">IcHQBBH", 16, b"S", 7, 0, 1, 0, 1) + b"p")
    expect(1, struct.pack(">IcHQBBH", 16, b"S", 1, 0, 1, 0, 1) + b"p", streaming=True)
    expect(9, struct.pack(">IcQ", 9, b"A", 1 << 50), streaming=True)
    # an option that pgoutput refuses is an error of the server
    k = sidecar.accept()
    k.hello()
    k.start(proto=99)
    error = k.error()
    assert (error.code, error.sqlstate) == (12, "0A000"), (error.code, error.sqlstate, error.text)
    k = sidecar.streaming()
    c.sql("INSERT INTO items VALUES (1, 'still alive')")
    k.until("row", lambda: k.inserts)


def scenario_start_positions(c):
    """A start behind the slot is lost data, one past the end of WAL another history."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.accept()
    hello = k.hello()
    k.start(hello.confirmed - 8)
    assert k.error().code == 7
    k = sidecar.accept()
    k.hello()
    k.start(hello.flush + (1 << 40))
    assert k.error().code == 8
    c.sql("INSERT INTO items VALUES (1, 'one')")
    c.sql("INSERT INTO items VALUES (2, 'two')")
    k = sidecar.streaming()
    k.until("both", lambda: len(k.commits) == 2)
    k.close()
    k = sidecar.streaming(k.commits[0])
    k.until("second", lambda: k.commits)
    assert k.inserts == [["2", "two"]]


def scenario_slot_trouble(c):
    """Missing, foreign, used and invalidated slots each have a code; DDL made after is served again."""
    c.prepare()
    slot = "electric_replication_out_app"
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    good, text = c.try_sql("SELECT pg_drop_replication_slot('%s')" % slot)
    assert not good and "is active" in text
    k.send("Q")
    while k.frame().kind != "R":
        pass
    c.sql("SELECT pg_drop_replication_slot('%s')" % slot)
    k.start()
    assert k.error().code == 3
    poll("state", lambda: c.status("state, slot_state", via="app") in ("slot missing|absent", "handshake|absent"))
    k = sidecar.accept()
    assert k.hello().slot_state == 0
    c.create_slot()
    k.start()
    c.sql("INSERT INTO items VALUES (1, 'one')")
    k.until("row", lambda: k.inserts)
    # another plugin
    k.send("Q")
    while k.frame().kind != "R":
        pass
    c.sql("SELECT pg_drop_replication_slot('%s')" % slot)
    c.sql("SELECT pg_create_logical_replication_slot('%s', 'test_decoding')" % slot)
    k.start()
    assert k.error().code == 6
    k = sidecar.accept()
    k.hello()
    c.sql("SELECT pg_drop_replication_slot('%s')" % slot)
    c.create_slot()
    k.start()
    k.send("P")
    k.until("keepalive", lambda: k.keepalive)
    # invalidated while it is held: the server ends the worker
    c.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    c.sql("ALTER SYSTEM SET min_wal_size = '32MB'; ")
    c.sql("SELECT pg_reload_conf()")
    for _ in range(4):
        c.sql("CREATE TABLE waste AS SELECT repeat('w', 500) FROM generate_series(1, 40000); DROP TABLE waste;")
        c.sql("SELECT pg_switch_wal()")
        c.sql("CHECKPOINT")
    k.expect_closed()
    poll("lost", lambda: c.sql("SELECT wal_status FROM pg_replication_slots") == "lost")
    k = sidecar.accept()
    assert k.hello().slot_state == 2
    k.start()
    error = k.error()
    assert error.code == 4, (error.code, error.text)
    poll("view", lambda: c.status("slot_state", via="app") == "invalidated")


def scenario_lag_limit(c):
    """penstock.max_slot_lag with action drop: 1 the slot goes and the sidecar is told; 2 also when it is frozen."""
    c.prepare()
    c.sql("ALTER SYSTEM SET penstock.max_slot_lag_action = 'drop'")
    c.sql("ALTER SYSTEM SET penstock.max_slot_lag = '32MB'")
    c.sql("SELECT pg_reload_conf()")
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    c.sql("INSERT INTO items SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i")
    poll("slot dropped", lambda: c.sql("SELECT count(*) FROM pg_replication_slots") == "0")
    k.close()
    k = sidecar.accept()
    assert k.hello().slot_state == 0
    c.create_slot()
    c.sql("CREATE TABLE more AS SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i")
    assert k.error().code == 14
    assert c.sql("SELECT count(*) FROM pg_replication_slots") == "0"


def scenario_async_commit(c):
    """A commit with synchronous_commit = off arrives within milliseconds, not at the WAL writer's pace."""
    c.prepare()
    c.sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
    c.sql("SELECT pg_reload_conf()")
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    session = c.session()
    session.run("SET synchronous_commit = off")
    times = []
    for i in range(50):
        begin = time.monotonic()
        session.run("INSERT INTO items VALUES (%d, 'async')" % i)
        k.until("row", lambda: len(k.commits) == i + 1)
        times.append(time.monotonic() - begin)
    session.close()
    assert sorted(times)[25] < 0.1, times


def scenario_killed_worker(c):
    """kill -9 of the worker makes the server recover; the stream goes on without loss."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.accept()
    pid = k.hello().pid
    k.start()
    c.sql("INSERT INTO items VALUES (1, 'one')")
    k.until("row", lambda: k.commits)
    position = k.commits[-1]
    k.ack(position)
    os.kill(pid, signal.SIGKILL)
    k.expect_closed()
    poll("recovery", lambda: c.try_sql("INSERT INTO items VALUES (2, 'two')")[0])
    k = sidecar.streaming(position)
    k.until("row", lambda: k.commits)
    assert k.inserts == [["2", "two"]], k.inserts


def scenario_foreign_wal(c):
    """The slot moves over WAL that has nothing for us."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    c.sql("CREATE TABLE other AS SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i", "postgres")
    flush = int(c.sql("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"))
    k.until("keepalive past it", lambda: k.keepalive and k.keepalive[0] >= flush)
    k.ack(k.keepalive[0])
    poll("confirmed", lambda: int(c.sql("SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots"))
         >= flush)
    assert k.messages == 0


def scenario_big_values(c):
    """A row of 100 MB arrives with one copy of it in the worker, which is given back afterwards."""
    c.prepare()
    c.sql("ALTER TABLE items ALTER content SET STORAGE EXTERNAL")
    sidecar = Sidecar(c)
    k = sidecar.accept()
    pid = k.hello().pid
    k.start()
    c.sql("INSERT INTO items VALUES (0, 'small')")
    k.until("small", lambda: k.commits)
    c.sql("INSERT INTO items SELECT 1, repeat('x', 100000000)")
    peak = 0
    total = 0
    while total < 100000000:
        data = k.sock.recv(1 << 20)
        assert data
        total += len(data)
        peak = max(peak, worker_rss(pid))
    k.sock.settimeout(3)
    c.sql("INSERT INTO items VALUES (2, 'small')")
    poll("memory given back", lambda: worker_rss(pid) < 80000)
    assert peak < 600000, peak


def scenario_streaming_mode(c):
    """Streaming of transactions in progress: pieces come before the commit; logical messages come through."""
    c.prepare()
    c.sql("ALTER SYSTEM SET logical_decoding_work_mem = '64kB'")
    c.sql("SELECT pg_reload_conf()")
    sidecar = Sidecar(c)
    k = sidecar.accept()
    k.hello()
    k.start(proto=2, flags=3)
    k.note = lambda frame: kinds.append(frame.payload[:1]) if frame.kind == "M" else None
    kinds = []
    c.sql("BEGIN; INSERT INTO items SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i;"
          "SELECT pg_logical_emit_message(true, 'penstock', 'hello'); COMMIT")
    k.until("stream commit", lambda: b"c" in kinds)
    assert b"S" in kinds and b"E" in kinds and b"M" in kinds


def scenario_disabled(c):
    """penstock.enabled = off takes the worker out of the database, on brings it back; wake() speeds things up."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    c.sql("ALTER SYSTEM SET penstock.enabled = off")
    c.sql("SELECT pg_reload_conf()")
    assert k.error().code == 13
    poll("disabled", lambda: c.status("state", via="app") == "disabled")
    c.sql("ALTER SYSTEM SET penstock.enabled = on")
    c.sql("SELECT pg_reload_conf()")
    k = sidecar.streaming()
    assert c.sql("SELECT penstock.wake()") == "t"
    c.sql("INSERT INTO items VALUES (1, 'one')")
    k.until("row", lambda: k.inserts)


def scenario_encodings(c):
    """Text comes as UTF-8 from a LATIN1 database; a SQL_ASCII database is refused."""
    new = "CREATE DATABASE app ENCODING '%s' LOCALE 'C' TEMPLATE template0"
    c.sql(new % "LATIN1", "postgres")
    c.sql("CREATE TABLE items (id int PRIMARY KEY, content text); CREATE PUBLICATION p FOR TABLE items")
    c.create_slot()
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    c.sql("SET client_encoding = 'UTF8'; INSERT INTO items VALUES (1, U&'caf\\00E9')")
    k.until("row", lambda: k.inserts)
    assert k.inserts[0][1] == "caf\u00e9", k.inserts
    c.sql("DROP DATABASE app", "postgres")
    k.expect_closed()
    c.sql(new % "SQL_ASCII", "postgres")
    c.create_slot()
    k = sidecar.streaming()
    assert k.error().code == 11


def scenario_publication_missing(c):
    """A publication that does not exist is refused, and nothing is lost; one that comes and goes is no crash loop."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.streaming(publications=b"nosuch")
    c.sql("INSERT INTO items VALUES (1, 'x')")
    error = k.error()
    assert (error.code, error.sqlstate) == (12, "42704"), (error.code, error.sqlstate, error.text)
    k = sidecar.streaming()
    k.until("row", lambda: k.inserts)


def scenario_many_sessions(c):
    """Sessions one after the other leave nothing behind in the worker."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.accept()
    pid = k.hello().pid
    sizes = []
    for i in range(120):
        k.start()
        c.sql("INSERT INTO items VALUES (%d, 'x')" % i) if i % 10 == 0 else None
        k.send("Q")
        while k.frame().kind != "R":
            pass
        sizes.append(worker_rss(pid))
    k.start()
    k.until("rows", lambda: k.inserts and k.inserts[-1][0] == "110")
    assert sizes[-1] - sizes[20] < 2000, sizes


def scenario_ping_flood(c):
    """Pings of a sidecar that does not read do not fill the worker's memory."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.accept()
    pid = k.hello().pid
    k.start()
    k.send("P")
    k.until("keepalive", lambda: k.keepalive)
    before = worker_rss(pid)
    for _ in range(20000):
        k.sock.sendall(b"\0\0\0\1P" * 20)
    assert worker_rss(pid) - before < 5000
    c.sql("INSERT INTO items VALUES (1, 'x')")
    k.until("row", lambda: k.inserts)


def scenario_two_databases(c):
    """Two workers, one socket: each has its own connection, slot and rows."""
    c.stop()
    with open(c.data + "/postgresql.conf", "a") as f:
        f.write("penstock.databases = 'app, \"Other-DB_\"'\n")
    c.start()
    c.prepare()
    c.sql('CREATE DATABASE "Other-DB_" TEMPLATE app', "postgres")
    sidecar = Sidecar(c)
    connections = {}
    for _ in range(2):
        k = sidecar.accept()
        hello = k.hello()
        connections[hello.database] = (k, hello.slot_name)
    k, slot = connections["Other-DB_"]
    assert slot == "electric_replication_out_other_db", slot
    c.sql("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')" % slot, "Other-DB_")
    for database, row in (("app", "here"), ("Other-DB_", "there")):
        k = connections[database][0]
        k.start()
        c.sql("INSERT INTO items VALUES (1, '%s')" % row, database)
        k.until("row", lambda: k.commits)
        assert k.inserts == [["1", row]]
    assert c.sql("SELECT count(*) FROM penstock.status WHERE state = 'streaming'") == "2"


def scenario_not_preloaded(c):
    """Without preloading, the extension can be created, and the view says why there is no worker."""
    c.stop()
    with open(c.data + "/postgresql.conf", "a") as f:
        f.write("shared_preload_libraries = ''\n")
    c.start()
    c.sql("CREATE EXTENSION penstock", "postgres")
    assert c.sql("SELECT state FROM penstock.status", "postgres") == "not preloaded"
    assert c.sql("SELECT penstock.wake()", "postgres") == "f"


def scenario_huge_transaction(c):
    """A transaction of a million rows passes with bounded memory while the reader keeps up."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.accept()
    pid = k.hello().pid
    k.start()
    k.note = lambda frame: counts.__setitem__(frame.payload[:1], counts.get(frame.payload[:1], 0) + 1)
    counts = {}
    c.sql("INSERT INTO items SELECT i, 'row ' || i FROM generate_series(1, 1000000) i")
    peak = 0
    while counts.get(b"C") is None:
        k.frame()
        if counts.get(b"I", 0) % 100000 == 0:
            peak = max(peak, worker_rss(pid))
    assert counts[b"I"] == 1000000, counts
    assert peak < 200000, peak


def scenario_subtransactions(c):
    """Savepoints and rolled back parts come out right."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    c.sql("DO $$ BEGIN FOR i IN 1..3000 LOOP BEGIN INSERT INTO items VALUES (i, 'x'); IF i % 2 = 0 THEN"
          " RAISE EXCEPTION 'undo'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$")
    k.until("commit", lambda: k.commits)
    assert [int(r[0]) for r in k.inserts] == list(range(1, 3000, 2))


def scenario_ddl_storm(c):
    """DDL on a published table while it is written: every row comes, decoded with its own columns."""
    c.prepare()
    sidecar = Sidecar(c)
    k = sidecar.streaming()
    script = ""
    for i in range(60):
        script += "ALTER TABLE items ADD COLUMN c%d int DEFAULT %d; INSERT INTO items (id, content) VALUES (%d, 'x');" \
            % (i, i, i)
        if i % 3 == 2:
            script += "ALTER TABLE items DROP COLUMN c%d;" % i
    c.sql(script)
    k.until("all rows", lambda: len(k.inserts) == 60)
    assert [int(r[0]) for r in k.inserts] == list(range(60))
    assert len(k.inserts[10]) > len(k.inserts[0])


def main():
    names = sys.argv[1:]
    scenarios = [(n, f) for n, f in globals().items() if n.startswith("scenario_")]
    if names:
        scenarios = [(n, f) for n, f in scenarios if n[len("scenario_"):] in names]
    root = tempfile.mkdtemp(prefix="pnst-inst-", dir="/tmp")
    os.chmod(root, 0o755)
    passed = failed = 0
    try:
        installation = Installation(root)
        for name, function in scenarios:
            cluster = Cluster(installation, name[len("scenario_"):].replace("_", "-"),
                              settings="penstock.reconnect_interval = 100ms")
            begin = time.monotonic()
            try:
                cluster.start()
                function(cluster)
                log = cluster.log_text()
                assert "leak" not in log, "leak in the log"
                assert "signal 11" not in log and "signal 6" not in log, "crash in the log"
                print("ok   %s (%.1f s)" % (name, time.monotonic() - begin), flush=True)
                passed += 1
            except Exception:
                failed += 1
                print("FAIL %s" % name, flush=True)
                traceback.print_exc(file=sys.stdout)
                if os.path.exists(cluster.log):
                    print("".join("    " + x + "\n" for x in cluster.log_text().split("\n")[-25:]), flush=True)
            finally:
                cluster.destroy()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("worker: %d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
