import lazytorch
import sys, time
from hypothesis import given, settings, seed, HealthCheck, strategies as st
sys.path.insert(0,'.')
from tests.fuzz.tensor_programs import programs, check
s=int(sys.argv[1]); n=int(sys.argv[2])
last=open('/tmp/wt/last-fuzz-%d'%s,'w')
count=0
@seed(s)
@settings(max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
@given(programs(), st.integers(0,1000))
def t(p, sd):
    global count
    count+=1
    last.seek(0); last.truncate(); last.write(repr(p)); last.flush()
    check(p, sd)
t0=time.time()
try: t()
finally: print(count, time.time()-t0)
