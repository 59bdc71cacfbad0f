#!/usr/bin/env python3
"""What the row triggers cost the application: pgbench on a plain table, on an
electrified one with the triggers in PL/pgSQL, and on one with those in C.

Single-row inserts and single-row updates by primary key, each in its own
transaction, runs of the three alternating; then one insert of many rows.

    test/bench_row_triggers/run.py [--bindir DIR] [--seconds N] [--rounds N]
                                   [--fsync on,off] [--mode simple|prepared] [--autovacuum on|off]
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import pwd
import shutil
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SQL_DIR = os.path.join(HERE, "..", "..", "..", "sql", "electric")
TABLES = ["plain", "plpgsql", "c"]
ROWS = 100000

INSERT = "INSERT INTO {t} (id, content, done, n) VALUES (nextval('ids'), 'some text of a row', false, 1);\n"
UPDATE = "\\set id random(1, %d)\n\\set n random(1, 1000000)\nUPDATE {t} SET n = :n WHERE id = :id;\n" % ROWS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bindir", default=None)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--fsync", default="on,off")
    parser.add_argument("--mode", default="simple")
    parser.add_argument("--autovacuum", default="off", help="on counts its work too, which in short runs is noise")
    parser.add_argument("--tables", default=",".join(TABLES))
    options = parser.parse_args()
    bindir = options.bindir or subprocess.run(["pg_config", "--bindir"], check=True, capture_output=True,
                                              encoding="utf-8").stdout.strip()
    base = tempfile.mkdtemp(prefix="penstock-bench-")
    prefix = []
    if os.geteuid() == 0:
        prefix = ["runuser", "-u", "postgres", "--"]
        os.chown(base, pwd.getpwnam("postgres").pw_uid, -1)
    data = os.path.join(base, "data")

    def run(name, *args, text=None):
        done = subprocess.run(prefix + [os.path.join(bindir, name), *args], input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, encoding="utf-8", cwd="/")
        if done.returncode != 0:
            raise SystemExit("%s: %s" % (name, done.stdout[-2000:]))
        return done.stdout

    def server_cpu():
        """Seconds of CPU of the backends that have ended; unlike tps not disturbed by other work on the machine."""
        with open(os.path.join(data, "postmaster.pid"), encoding="utf-8") as file:
            pid = file.readline().strip()
        with open("/proc/%s/stat" % pid, encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def psql(text):
        return run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", base, "-p", "54330", "-U", "postgres",
                   "-f", "-", text=text)

    run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    try:
        for fsync in options.fsync.split(","):
            # not through a pipe: the server would keep it open
            subprocess.run(prefix + [
                os.path.join(bindir, "pg_ctl"), "-D", data, "-l", os.path.join(base, "log"), "-w", "-o",
                "-c listen_addresses= -c unix_socket_directories=%s -c port=54330 -c wal_level=logical -c fsync=%s "
                "-c max_wal_size=8GB -c shared_buffers=512MB -c checkpoint_timeout=30min -c autovacuum=%s" % (base, fsync, options.autovacuum), "start"],
                check=True, stdout=subprocess.DEVNULL, cwd="/")
            psql("DROP SCHEMA IF EXISTS electric CASCADE; DROP EXTENSION IF EXISTS penstock CASCADE; CREATE EXTENSION penstock;")
            install = ["SET client_min_messages = warning; DROP PUBLICATION IF EXISTS electric_publication; BEGIN;"]
            for name in sorted(os.listdir(SQL_DIR)):
                if name.endswith(".sql"):
                    with open(os.path.join(SQL_DIR, name), encoding="utf-8") as part:
                        install.append(part.read())
            psql("\n".join(install) + "\nCOMMIT;")
            psql("SET client_min_messages = warning; DROP SEQUENCE IF EXISTS ids; CREATE SEQUENCE ids START 10000000 CACHE 50;")
            for t in TABLES:
                psql("SET client_min_messages = warning; DROP TABLE IF EXISTS t_%s; CREATE TABLE t_%s (id int8 PRIMARY KEY, "
                     "content text, done bool, n int4);" % (t, t))
                if t != "plain":
                    psql("SET client_min_messages = warning; SET electric.row_trigger_language = '%s'; "
                         "CALL electric.electrify('t_%s');" % (t, t))
                psql("INSERT INTO t_%s SELECT i, 'some text of a row', false, 1 FROM generate_series(1, %d) i; "
                     % (t, ROWS))
            psql("VACUUM ANALYZE; CHECKPOINT;")
            for kind, script in (("insert", INSERT), ("update", UPDATE)):
                found = {t: [] for t in TABLES}
                cpu = {t: [] for t in TABLES}
                for _ in range(options.rounds):
                    for t in options.tables.split(","):
                        path = os.path.join(base, "%s_%s.sql" % (kind, t))
                        with open(path, "w", encoding="utf-8") as file:
                            file.write(script.format(t="t_" + t))
                        os.chmod(path, 0o644)
                        before = server_cpu()
                        out = run("pgbench", "-n", "-M", options.mode, "-c", "4", "-j", "2", "-T", str(options.seconds),
                                  "-f", path, "-h", base, "-p", "54330", "-U", "postgres", "postgres")
                        found[t].append(float(re.search(r"tps = ([0-9.]+)", out).group(1)))
                        done = int(re.search(r"actually processed: ([0-9]+)", out).group(1))
                        time.sleep(0.2)     # the backends end
                        cpu[t].append((server_cpu() - before) / done * 1e6)
                plain = statistics.median(found["plain"]) if found["plain"] else float("nan")
                for t in options.tables.split(","):
                    median = statistics.median(found[t])
                    print("fsync=%-3s %s %-8s %8.0f tps  %.2f of plain  (%s)  server CPU %.0f us a transaction (%s)" % (
                        fsync, kind, t, median, median / plain, ", ".join("%.0f" % x for x in found[t]),
                        statistics.median(cpu[t]), ", ".join("%.0f" % x for x in cpu[t])), flush=True)
            for rows in (10000, 100000):
                for t in options.tables.split(","):
                    out = psql("\\timing on\nINSERT INTO t_%s SELECT nextval('ids'), 'some text of a row', false, 1 "
                               "FROM generate_series(1, %d);" % (t, rows))
                    print("fsync=%-3s one insert of %d rows, %-8s %s" % (fsync, rows, t, out.strip()), flush=True)
            run("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    finally:
        subprocess.run(prefix + [os.path.join(bindir, "pg_ctl"), "-D", data, "-m", "immediate", "stop"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
