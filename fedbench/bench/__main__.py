import sys
from fedbench.bench.alone import run_alone
if sys.argv[1]=='alone':
    run_alone(sys.argv[2],sys.argv[3],sys.argv[4],*map(int,sys.argv[5:]))
