"""How fast a backlog leaves the server: the worker against pg_recvlogical, same rows, same plugin, in turns.

    PG_CONFIG=... python3 run.py [rows] [rounds]
"""

import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/worker")
from cluster import *  # noqa: E402

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000000
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
SLOT = "electric_replication_out_app"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = tempfile.mkdtemp(prefix="pnst-inst-", dir="/tmp")
    os.chmod(root, 0o755)
    c = Cluster(Installation(root), "bench", settings="penstock.reconnect_interval = 100ms\nautovacuum = off\n"
                "logical_decoding_work_mem = '%s'\n" % os.environ.get("WORK_MEM", "64MB"))
    reader = root + "/reader"
    try:
        subprocess.run(["cc", "-O2", "-o", reader, here + "/reader.c", PG_EXT + "/src/frame.c"], check=True)
        c.start()
        c.prepare()
        # transactions of 100 rows each
        c.sql("CREATE TABLE narrow (id int PRIMARY KEY, a int, b text); ALTER PUBLICATION p ADD TABLE narrow")
        c.sql("DO $$ BEGIN FOR i IN 0..%d LOOP INSERT INTO narrow SELECT i * 100 + j, j, 'value ' || j"
              " FROM generate_series(1, 100) j; COMMIT; END LOOP; END $$" % (ROWS // 100 - 1))
        end = c.sql("SELECT pg_current_wal_flush_lsn()")
        number = c.sql("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
        mine, theirs = [], []
        for turn in range(ROUNDS):
            output = subprocess.check_output([reader, c.socket_path, "p", number], text=True).split()
            assert int(output[0]) == ROWS, output
            mine.append(ROWS / float(output[2]))
            c.sql("SELECT pg_copy_logical_replication_slot('%s', 'copy%d')" % (SLOT, turn))
            begin = time.monotonic()
            c.run(["pg_recvlogical", "-h", c.base, "-p", "5432", "-U", "postgres", "-d", "app", "--start", "--no-loop",
                   "-S", "copy%d" % turn, "-f", "/dev/null", "-o", "proto_version=1", "-o", "publication_names=p",
                   "-E", end])
            theirs.append(ROWS / (time.monotonic() - begin))
            c.sql("SELECT pg_drop_replication_slot('copy%d')" % turn)
            print("worker %.2f, pg_recvlogical %.2f million rows/s" % (mine[-1] / 1e6, theirs[-1] / 1e6), flush=True)
        print("ratio of medians %.2f" % (statistics.median(mine) / statistics.median(theirs)))
    finally:
        c.destroy()
        shutil.rmtree(root, ignore_errors=True)


main()
