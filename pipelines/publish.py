"""Put a student with its model card on the Hugging Face hub, or into a folder.

    python pipelines/publish.py --model out/student/student --output out/published
    python pipelines/publish.py --model out/student/student --repo my-organisation/my-reranker --licence apache-2.0 \\
        --evaluation out/scifact.json

Log in with `hf auth login` first, or set HF_TOKEN. A new repository is private unless --private false.
"""

from inranker.cli import main
from inranker.publish import PublishConfig, publish

if __name__ == "__main__":
    main(PublishConfig, publish, __doc__)
