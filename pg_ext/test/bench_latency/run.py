"""Latency of a commit to the sidecar's socket and to a LISTENing client: PG_CONFIG=... python3 run.py [rounds]"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/worker")
from cluster import *  # noqa: E402


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    rounds = sys.argv[1] if len(sys.argv) > 1 else "1000"
    root = tempfile.mkdtemp(prefix="pnst-inst-", dir="/tmp")
    os.chmod(root, 0o755)
    program = root + "/latency"
    c = Cluster(Installation(root), "latency", settings="penstock.reconnect_interval = 100ms")
    try:
        subprocess.run(["cc", "-O2", "-I", subprocess.check_output(["pg_config", "--includedir"], text=True).strip(),
                        "-o", program, here + "/latency.c", PG_EXT + "/src/frame.c", "-lpq"], check=True)
        c.start()
        c.prepare()
        for mode in ("on", "off"):
            for interval in ("2ms", "0", "-1") if mode == "off" else ("2ms",):
                c.sql("ALTER SYSTEM SET penstock.async_flush_interval = '%s'" % interval)
                c.sql("SELECT pg_reload_conf()")
                print("synchronous_commit = %s, async_flush_interval = %s" % (mode, interval))
                count = "100" if interval == "-1" else rounds
                subprocess.run([program, c.socket_path, "host=%s port=5432 user=postgres dbname=app" % c.base, "p",
                                count, mode], check=True)
                time.sleep(0.5)
    finally:
        c.destroy()
        shutil.rmtree(root, ignore_errors=True)


main()
