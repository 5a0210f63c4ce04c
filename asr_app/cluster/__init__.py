"""The API on Ray Serve: one process takes the requests in, replicas on the machines of a cluster recognise.

replica.py holds an engine, worker.py carries a job to a replica and its progress back, deployment.py starts the replicas and
watches them, server.py joins them with the API, arguments.py has the flags.
"""
