#!/bin/bash
# One task of a Slurm array per line of wells.txt (one FCS file per line):
#   sbatch --array=1-$(wc -l < wells.txt) slurm_array.sh study/model.cytomoe wells.txt results
#SBATCH --job-name=cytomoe
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --time=00:15:00
set -euo pipefail

model=$1
list=$2
out=$3
well=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
name=$(basename "$well" .fcs)

# A task that Slurm starts again finds its folder complete and has nothing to do.
if [ -f "$out/$name/run.json" ]; then
    exit 0
fi
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
cytomoe predict "$model" "$well" --out "$out/$name" --quiet
