"""What runs next, and where? The command line, the tuner and the searcher."""

import os

# Read by Ray when it is imported: no usage statistics over the network, no result files beside the journal, workers
# that stay where they were started, time for a stopped trial's thread to end before its process is used again, Ctrl-C
# left to the search (Ray would end a round without a word, and the next one would begin), and nodes that join a cluster
# together given trials together.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "600")
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "4")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
# A lost head ends this process from within Ray's own code, with exit code 1, after so long; `search.cluster.head` is
# earlier, unless the search waits for Ray just then. (Ray 2.60's default is 60.)
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "50")
# A failed report's missing val_loss is no reason to warn; what matters is in the journal.
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "30")
# A page of the raylet's log, printed as it dies; the search says in a line what became of it.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "Raylet is terminated|has been marked dead")
