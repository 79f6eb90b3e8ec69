# shellcheck shell=bash
# Sourced by slurm.sh: the accounting database (MariaDB and slurmdbd) of the test cluster.

accounting_config() {
    echo "AccountingStorageType=accounting_storage/slurmdbd"
    echo "AccountingStorageHost=127.0.0.1"
    echo "AccountingStoragePort=$DBD_PORT"
    # with a munge socket of our own this, too, must name it
    echo "AccountingStoragePass=$ROOT/munge/socket"
    # fatal without slurmdbd
    echo "AccountingStorageTRES=gres/gpu"
}

sql() { mariadb --no-defaults --socket="$ROOT/sql/socket" "$@"; }

start_accounting() {
    local password
    if gone mariadbd; then
        mkdir -p "$ROOT/sql"
        mariadb-install-db --no-defaults --user=root --datadir="$ROOT/sql/data" --skip-test-db \
            --auth-root-authentication-method=socket >"$ROOT/log/sql-install.log" 2>&1 || failed "MariaDB could not be set up"
        # in a session of its own: a Ctrl-C in the terminal is not for the database
        setsid mariadbd --no-defaults --user=root --datadir="$ROOT/sql/data" --socket="$ROOT/sql/socket" --port=$SQL_PORT \
            --bind-address=127.0.0.1 --pid-file="$ROOT/run/mariadbd.pid" --innodb-buffer-pool-size=64M \
            --innodb-flush-log-at-trx-commit=0 --skip-log-bin >"$ROOT/log/mariadbd.log" 2>&1 </dev/null &
        await 60 sql -e "select 1" || failed "MariaDB does not answer after 60 s"
    fi
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    sql -e "create database slurm_acct_db; create user 'slurm'@'127.0.0.1' identified by '$password';
        create user 'slurm'@'localhost' identified by '$password';
        grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1'; grant all on slurm_acct_db.* to 'slurm'@'localhost'" ||
        failed "the accounting database could not be made"
    (umask 077 && dbd_config "$password" >"$ROOT/slurmdbd.conf")
    slurmdbd || failed "slurmdbd did not start"
    await 60 timeout 5 sacctmgr -n show cluster || failed "slurmdbd does not answer after 60 s"
    timeout 20 sacctmgr -i add cluster posemill >/dev/null 2>&1 || true # slurmdbd may know it already
    timeout 20 sacctmgr -i add account posemill >/dev/null
    timeout 20 sacctmgr -i add user root account=posemill >/dev/null
}

dbd_config() {
    cat <<CONFIG
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$DBD_PORT
SlurmUser=root
PidFile=$ROOT/run/slurmdbd.pid
LogFile=$ROOT/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$SQL_PORT
StorageUser=slurm
StoragePass=$1
StorageLoc=slurm_acct_db
CONFIG
}

stop_accounting() {
    end slurmdbd
    end mariadbd
}
