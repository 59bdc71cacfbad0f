"""Runs test/sql/*.sql with pg_regress in a private cluster: python3 regress.py [name ...]

The library is preloaded and no database configured, so there is no worker. REGRESS_RESULTS names a folder that gets
the results.
"""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/worker")
from cluster import *  # noqa: E402

TESTS = os.path.join(PG_EXT, "test")


def main():
    names = sys.argv[1:] or sorted(os.path.basename(p)[:-4] for p in glob.glob(TESTS + "/sql/*.sql"))
    root = tempfile.mkdtemp(prefix="pnst-inst-", dir="/tmp")
    os.chmod(root, 0o755)
    installation = Installation(root)
    cluster = Cluster(installation, "regress", databases="").start()
    output = cluster.base + "/regress"
    os.mkdir(output)
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(output, user.pw_uid, user.pw_gid)
    pg_regress = os.path.join(os.path.dirname(pg_config("--pgxs")), "../test/regress/pg_regress")
    # a copy, since some installations leave it without the right to be run
    shutil.copy(os.path.normpath(pg_regress), root + "/pg_regress")
    os.chmod(root + "/pg_regress", 0o755)
    try:
        result = subprocess.run(as_postgres([
            root + "/pg_regress", "--bindir=" + cluster.bin, "--host=" + cluster.base, "--port=5432",
            "--user=postgres", "--inputdir=" + TESTS, "--outputdir=" + output, "--dbname=contrib_regression"] + names),
            cwd=output, env=dict(os.environ, LD_LIBRARY_PATH=installation.library_path), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        print(result.stdout)
        if result.returncode != 0 and os.path.exists(output + "/regression.diffs"):
            print(open(output + "/regression.diffs", errors="replace").read())
        keep = os.environ.get("REGRESS_RESULTS")
        if keep:
            shutil.copytree(output + "/results", keep, dirs_exist_ok=True)
    finally:
        cluster.destroy()
        shutil.rmtree(root, ignore_errors=True)
    bad = sum(1 for line in result.stdout.split("\n") if "FAILED" in line and line.startswith(("test ", "not ok")))
    bad = bad or sum(1 for line in result.stdout.split("\n") if line.startswith("not ok"))
    if result.returncode != 0 and bad == 0:
        bad = 1
    print("regress: %d passed, %d failed" % (len(names) - bad, bad))
    sys.exit(1 if bad else 0)


main()
